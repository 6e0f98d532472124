"""What constraints refuse, in the same words on every database."""

from app_kernel.core.errors import ConstraintViolation, MissingValue, UniqueViolation


def unique_violation(fields: str | None) -> UniqueViolation:
    """Another entity has this value; `fields` are joined by a comma, None where the database does not say which."""
    what = f"[{fields}]" if fields else "value of a field that must be unique"
    return UniqueViolation(f"Another entity already has this {what}.", field=fields)


def missing_value(field: str | None) -> MissingValue:
    """A field that the table requires was not given."""
    return MissingValue(f"[{field}] is required." if field else None, field=field)


def foreign_key_violation() -> ConstraintViolation:
    """A foreign key's one end is not there, or would not be any more."""
    return ConstraintViolation("A foreign key refuses this: it refers to a row that is not there, or that others need.")


def check_violation(said: str, *, field: str | None = None) -> ConstraintViolation:
    """A CHECK refuses, or a trigger; `said` is the constraint's name, or what the application's trigger says."""
    return ConstraintViolation(f"A constraint of the table refuses this: {said}.", field=field)
