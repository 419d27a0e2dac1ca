"""The page about messages names what there is: every reader, service, field and value of the model."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from keepstone.messages import model
from keepstone.sources.readers import MODULES

PAGE = (Path(__file__).parents[2] / "docs" / "messages.md").read_text()
NAMED = set(re.findall(r"`([^`]+)`", PAGE))
RECORDS = (
    model.Conversation, model.Person, model.Message, model.Attachment, model.Reaction, model.Edit, model.Call,
)  # fmt: skip
VALUES = (model.Service, model.ConversationKind, model.Direction, model.MessageKind, model.State, model.CallOutcome)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_is_named(record: type[msgspec.Struct]) -> None:
    part = PAGE[PAGE.index(f"**{record.__name__}:**") :]
    missing = [name for name in record.__struct_fields__ if f"`{name}`" not in part]
    assert not missing


@pytest.mark.parametrize("values", VALUES, ids=str)
def test_every_value_is_named(values: object) -> None:
    assert {value for value in get_args(values) if value} <= NAMED


def test_every_reader_is_named_and_no_other() -> None:
    table = PAGE[PAGE.index("| reader |") : PAGE.index("Keys are given once")]
    listed = re.findall(r"^\| `([^`]+)` \|", table, re.M)
    assert sorted(listed) == sorted(import_module(f"keepstone.sources.{name}").NAME for name in MODULES)


def test_the_version_is_that_of_the_model() -> None:
    assert f"The model, version {model.VERSION}" in PAGE
