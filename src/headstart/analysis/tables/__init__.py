"""Tables of results in any format and layout -> one tidy table in our columns."""
