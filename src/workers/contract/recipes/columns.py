"""What the cells of a table's columns mean: times, conditions on cells, values and categories."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, GetJsonSchemaHandler, SerializerFunctionWrapHandler, model_serializer, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from workers.contract.recipes.recipe import Recipe
from workers.contract.recipes.words import Wording

# What stands for the label of a visit in the names of columns.
VISIT = "{visit}"
DAYS_IN = {"days": 1.0, "weeks": 7.0, "months": 365.25 / 12, "years": 365.25}

Name = Annotated[str, Field(min_length=1, description="the name of a column")]
Cell = str | int | float | bool
Unit = Literal["days", "weeks", "months", "years"]


class Shorthand(Recipe):
    """A recipe that may be written as one field alone, and is hashed so where the others are at their defaults."""

    alone: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _spelt_out(cls, given: object) -> object:
        return {cls.alone: given} if isinstance(given, str) else given

    @model_serializer(mode="wrap")
    def _shortened(self, serialise: SerializerFunctionWrapHandler) -> Any:  # noqa: ANN401  text or a mapping
        fields = {name for name, value in self if value != type(self).model_fields[name].get_default()}
        return getattr(self, self.alone) if fields <= {self.alone} else serialise(self)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Text, or the mapping."""
        whole = handler(schema)
        described = handler.resolve_ref_schema(whole).get("description", "")
        return {"anyOf": [{"type": "string", "minLength": 1}, whole], "description": described}


class TimeColumn(Shorthand):
    """A column of times: on the table's clock, or numbers in a unit of their own, or dates in another format."""

    alone = "column"
    column: Name
    unit: Unit | None = Field(default=None, description="what its numbers count; null: what the clock says")
    format: str | None = Field(
        default=None, min_length=2, description="of its dates, as strptime has it; what %Y leaves out is 1 January"
    )


class Category(Shorthand):
    """What a cell is called in prompts, and how it bears on risk."""

    alone = "word"
    word: str = Field(default="", description="empty: the cell as it is written")
    points: int = Field(default=0, description="of risk, signed: negative lowers")


class Matching(Recipe):
    """A condition on the cells of a column."""

    equals: Cell | None = None
    one_of: tuple[Cell, ...] = Field(default=(), description="any of several cells, in place of `equals`")

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that meet it; none where nothing is declared."""
        return self.one_of if self.equals is None else (self.equals,)

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if self.equals is not None and self.one_of:
            raise ValueError("equals and one_of are both there; keep one of them")
        return self


class Valued(Wording):
    """What the cells of an input are: numbers as they stand, or what a table makes of them."""

    values: dict[str, float] = Field(default={}, description="the number of each cell, such as {Yes: 1, No: 0}")
    categories: dict[str, Category] = Field(
        default={}, description="the word of each cell; with `values` they are ordered by them, else each is a flag"
    )

    @property
    def declared(self) -> Mapping[str, object]:
        """The cells that are known, where the mapping lists them."""
        return self.values or self.categories

    def words_fault(self, code: str) -> str:
        """What is wrong with them; empty where nothing is."""
        if self.values and self.categories and self.values.keys() != self.categories.keys():
            return f"{code}: values and categories name other cells; name the same in both"
        if self.categories and len(set(self.values.values())) < len(self.values):
            return f"{code}: two categories have one number; give each its own, or one name in both"
        if self.categories and (self.bands or self.absent or self.points or self.absent_points):
            return (
                f"{code}: bands, points and absent are for numbers and flags; write `categories` with words and points"
            )
        return ""
