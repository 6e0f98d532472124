"""The verbs that change one entity, given as a dict or as an instance of a dataclass."""

from collections.abc import Mapping, Sequence
from typing import Any, overload

from app_kernel.core.errors import InvalidQuery, UnsupportedValue
from app_kernel.core.models import M
from app_kernel.db.definitions import DefinitionVerbs
from app_kernel.db.kinds import INT64_MAX, check_text
from app_kernel.db.matching import check_match_by
from app_kernel.db.models import PYTHON_TYPES, entity_name, from_row, model_class, model_of, to_entity
from app_kernel.db.names import check_entity_name, check_field_name
from app_kernel.db.scope import Scope
from app_kernel.db.units import Change


class SaveVerbs(DefinitionVerbs):
    """Saving, deleting and restoring."""

    @overload
    async def save_entity(
        self,
        name: str,
        entity: Mapping[str, Any],
        *,
        match_by: Sequence[str] | None = None,
        comment: str | None = None,
        expected_version: int | None = None,
    ) -> dict[str, Any]: ...

    @overload
    async def save_entity(
        self,
        name: str,
        entity: M,
        *,
        match_by: Sequence[str] | None = None,
        comment: str | None = None,
        expected_version: int | None = None,
    ) -> M: ...

    @overload
    async def save_entity(
        self,
        name: M,
        *,
        match_by: Sequence[str] | None = None,
        comment: str | None = None,
        expected_version: int | None = None,
    ) -> M: ...

    async def save_entity(
        self,
        name: Any,
        entity: Any = None,
        *,
        match_by: Sequence[str] | None = None,
        comment: str | None = None,
        expected_version: int | None = None,
    ) -> Any:
        """Creates an entity, or changes the given fields of the one with this id; returns the whole row.

        Fields left out stay as they are, an explicit None clears one. The fields that the kernel owns are ignored in
        the input. A table or column that is missing is made. `comment` goes into the history; with `expected_version`
        the save happens only if the entity still has that `_version` (0: only if it does not exist yet).
        With `match_by`, the live entity whose fields of these names are equal is changed, else one is created, however
        many do so at once; no entity, or exactly one, may match (AmbiguousMatch).
        An instance of a dataclass is saved to the entity that its class names, or to `name`, and gives an instance.
        Raises InvalidName, UnsupportedValue, ReservedField, EntityDeleted, VersionConflict, UniqueViolation,
        MissingValue, SchemaLimit, UnsupportedModel, Unavailable.
        """
        if type(entity) is not dict:
            if entity is None and type(name) is not str:
                name, entity = entity_name(name), name
            cls = model_class(type(entity))
            if cls is not None:
                entity = to_entity(entity)
                check_entity_name(name, writing=True, privileged=self._privileged)
                check_save_options(comment, expected_version)
                check_match_by(match_by)
                await self._ensure_model(self._scope(), cls, name)
                row = await self.save_entity(
                    name, entity, match_by=match_by, comment=comment, expected_version=expected_version
                )
                return from_row(cls, row)
        check_entity_name(name, writing=True, privileged=self._privileged)
        check_save_options(comment, expected_version)
        fields = check_match_by(match_by)
        writes = self._scope().writes
        if fields is None:
            return await writes.save(name, entity, comment=comment, expected_version=expected_version)
        return await writes.upsert(name, entity, fields, comment=comment, expected_version=expected_version)

    async def delete_entity(
        self, name: str | type[Any], id: Any, permanent: bool = False, *, purge_history: bool = False
    ) -> bool:
        """Deletes an entity: softly, so that `restore_entity` can bring it back, or for good with `permanent`.

        False when there is none, or when it is deleted already. The history stays unless `purge_history` is set too.
        """
        entity = entity_name(name)
        check_entity_name(entity, writing=True, privileged=self._privileged)
        if purge_history and not permanent:
            raise InvalidQuery("purge_history needs permanent=True: a soft-deleted entity keeps its history.")
        change = Change.PURGE if permanent else Change.DELETE
        return await self._scope().writes.delete(entity, id, change, purge_history=purge_history)

    @overload
    async def restore_entity(self, name: str, id: Any) -> dict[str, Any] | None: ...

    @overload
    async def restore_entity(self, name: type[M], id: Any) -> M | None: ...

    async def restore_entity(self, name: str | type[Any], id: Any) -> Any:
        """Undoes a soft delete and returns the row; None when there is no such entity.

        An entity that is not deleted is returned as it is. Raises UniqueViolation when another one took its place.
        """
        entity = entity_name(name)
        check_entity_name(entity, writing=True, privileged=self._privileged)
        row = await self._scope().writes.restore(entity, id)
        cls = model_class(name)
        return row if cls is None or row is None else from_row(cls, row)

    async def _ensure_model(self, scope: Scope, cls: type, name: str) -> None:
        """Makes the columns and indexes that the hints of a class ask for; once for each state of the schema."""
        model = model_of(cls)
        table = await self._table(scope, name)
        if table.statements.get(("model", cls)):
            return
        for field in model.kinds:
            check_field_name(field)
        missing = {field: PYTHON_TYPES[kind] for field, kind in model.kinds.items() if not table.has(field)}
        if missing:
            await scope.schema.declare(name, missing)
        for index in model.indexes:
            await self.ensure_index(name, index.fields, unique=index.unique)
        table = await self._table(scope, name)
        # A transaction that is rolled back takes its indexes back, of which the table as it is known says nothing.
        if scope is self._outside or not model.indexes:
            table.statements["model", cls] = True


def check_save_options(comment: Any, expected_version: Any) -> None:
    """Refuses a comment that is no text and a version that is no whole number; raises UnsupportedValue."""
    if comment is not None:
        if type(comment) is not str:
            raise UnsupportedValue("comment is text, or None.")
        check_text("comment", comment)
    if expected_version is not None and (type(expected_version) is not int or abs(expected_version) > INT64_MAX):
        raise UnsupportedValue("expected_version is a whole number of 64 bits, or None.")
