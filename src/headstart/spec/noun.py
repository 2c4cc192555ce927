"""What all nouns share."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Noun"]


class Noun(BaseModel):
    """A frozen value; an unknown or wrong field raises pydantic.ValidationError."""

    # An infinite gap (nothing is certified) must come back from JSON as one, not as null.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")
