"""What all nouns share."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Noun"]


class Noun(BaseModel):
    """A frozen value; an unknown or wrong field raises pydantic.ValidationError."""

    model_config = ConfigDict(frozen=True, extra="forbid")
