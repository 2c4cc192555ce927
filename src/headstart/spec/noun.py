"""What all nouns share."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict

__all__ = ["Noun"]


class Noun(BaseModel):
    """A frozen value; an unknown or wrong field raises pydantic.ValidationError."""

    # An infinite gap (nothing is certified) must come back from JSON as one, not as null.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other fields, validated."""
        return type(self)(**{**dict(self), **changes})
