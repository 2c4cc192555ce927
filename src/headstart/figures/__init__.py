from headstart.figures import correlation
