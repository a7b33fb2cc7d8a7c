from pathlib import Path

import pytest
import yaml

from gru_complete.config import MAX_CONFIG_BYTES, Config, load_config
from gru_complete.errors import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs"


def write(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_without_a_file_the_defaults_hold():
    assert load_config() == Config()


def test_set_beats_the_file_and_the_file_beats_the_defaults(tmp_path):
    path = write(tmp_path, "model:\n  hidden_size: 100\n  embedding_size: 50\n")
    config = load_config(path, ["model.hidden_size=200", "model.hidden_size=300"])
    assert (config.model.hidden_size, config.model.embedding_size, config.model.num_layers) == (300, 50, 1)


@pytest.mark.parametrize(
    ("text", "rate"), [("1e-3", 0.001), ("1.0e-3", 0.001), ("0.001", 0.001), ("'0.001'", 0.001), ("1", 1.0)]
)
def test_numbers_may_be_written_as_people_write_them(tmp_path, text, rate):
    assert load_config(write(tmp_path, f"training:\n  learning_rate: {text}\n")).training.learning_rate == rate


NUMBERS = [0, 1, 7, 8, 9, 10, 64, 77, 100, 1_000, 65_535, 10**6, 2**53 + 1, 2**63 - 1]
NO_NUMBERS = [
    *("yes", "no", "on", "off", "true", "false", "y", "n", "True", "NO", "On"),  # truths of YAML 1.1 and 1.2
    *(f"{hours}:{minutes}" for hours in (0, 1, 59, 190) for minutes in ("0", "30", "59", "20:30", "30.15")),
    *("2020-01-01", "2001-12-14t21:59:43.10-05:00", "12-31", "1/2", "1,000", "1 000", "1_", "_1", "1__0"),
    *("0x10", "0o17", "0b11", "1e", "e3", "+", ".", "..", "=", "<<", "!!int 1", "!!bool yes", "!!timestamp x"),
    *(".inf", "-.inf", "+.INF", ".nan", ".NaN", "inf", "nan", "infinity", "five", "[1]", "{a: 1}", "''"),
]


def _given(tmp_path, how, place, value):
    """A setting that is given in a file or by ``--set``."""
    section, key = place.split(".")
    if how == "set":
        config = load_config(None, [f"{place}={value}"])
    else:
        config = load_config(write(tmp_path, f"{section}:\n  {key}: {value}\n"))
    return getattr(getattr(config, section), key)


@pytest.mark.parametrize("how", ["file", "set"])
def test_what_is_written_in_digits_is_that_number(tmp_path, how):
    for number in NUMBERS:
        for text in (
            f"{number}",
            f"+{number}",
            f"{number:_}",
            f"00{number}",
            f"0{number}",
            f"'{number}'",
            f"{number} # it",
        ):
            assert _given(tmp_path, how, "training.seed", text) == number, text
        if number < 2**53:
            for text in (f"{number}.0", f"{number}e0", f"{number}.0E+0", f"{number}0e-1"):
                assert _given(tmp_path, how, "training.seed", text) == number, text
    assert _given(tmp_path, how, "data.max_tuning_bytes", "1e6") == 1_000_000


@pytest.mark.parametrize("how", ["file", "set"])
@pytest.mark.parametrize("place", ["training.steps", "training.seed", "training.minutes", "training.learning_rate"])
def test_what_is_no_number_is_refused_where_one_is_expected(tmp_path, how, place):
    for text in NO_NUMBERS:
        with pytest.raises(ConfigError) as caught:
            _given(tmp_path, how, place, text)
        assert place in str(caught.value) or "could not determine a constructor" in str(caught.value), text


@pytest.mark.parametrize("how", ["file", "set"])
def test_text_stays_text_where_text_is_expected(tmp_path, how):
    texts = [text for text in NO_NUMBERS if text.isalnum() or text[0] in "-+." and len(text) > 2] + [
        "010",
        "1.50",
        "1e3",
    ]
    written = _given(tmp_path, how, "data.extensions", f"[{', '.join(texts)}]")
    assert written == tuple(texts)


@pytest.mark.parametrize("how", ["file", "set"])
def test_yes_and_no_may_be_spelled_as_yaml_and_people_spell_them(tmp_path, how):
    for text in ("true", "True", "TRUE", "yes", "Yes", "on", "ON"):
        assert _given(tmp_path, how, "data.redact", text) is True
    for text in ("false", "False", "no", "NO", "off"):
        assert _given(tmp_path, how, "data.redact", text) is False
    for text in ("null", "~", "Null", "NULL"):
        assert _given(tmp_path, how, "training.steps", text) is None


def test_an_empty_file_and_an_empty_section_mean_the_defaults(tmp_path):
    assert load_config(write(tmp_path, "")) == Config()
    assert load_config(write(tmp_path, "model:\n")) == Config()


def test_all_problems_are_listed_with_the_nearest_name(tmp_path):
    path = write(tmp_path, "model:\n  hiden_size: 3\n  num_layers: 0\nmodle: {}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert "model.hiden_size: unknown key; did you mean 'hidden_size'?" in message
    assert "model.num_layers: input should be greater than or equal to 1" in message
    assert "modle: unknown key; did you mean 'model'?" in message


@pytest.mark.parametrize("value", [".nan", ".inf", "-1", "0", "[1]", "{a: 1}", "no", "2020-01-01"])
def test_a_value_that_is_no_rate_is_refused(tmp_path, value):
    with pytest.raises(ConfigError, match=r"training\.learning_rate"):
        load_config(write(tmp_path, f"training:\n  learning_rate: {value}\n"))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("model:\n  cell: gru\n  cell: rnn\n", "key 'cell' occurs twice, in lines 2 and 3"),
        ("a: &a [1]\nb: *a\n", "aliases are not supported"),
        ("model: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
        ("- a\n", "sections such as 'model:' are expected"),
        ("just words", "sections such as 'model:' are expected"),
        ("model:\n\tcell: gru\n", "line 2, column 1"),
        ("model: {cell: gru", "line 1"),
        ("a: 1\n---\nb: 2\n", "but found another document"),
        ("[" * 20_000, "nested too deeply"),
        ("{a: " * 10_000, "nested too deeply"),
        (b"model: \x00", "not text that YAML allows"),
        (b"model: \xff\xfe\xff", "not text that YAML allows"),
        ("#" * (MAX_CONFIG_BYTES + 1), "not a config"),
    ],
)
def test_a_file_that_is_no_config_gets_one_clear_line(tmp_path, text, part):
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot read config .*No such file"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "text", ["hidden_size=3", "model.hidden_size", "=3", ".a=1", "model.=1", "model.a=", "model.a= "]
)
def test_an_override_has_a_section_a_key_and_a_value(text):
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        load_config(None, [text])


def test_an_override_is_checked_like_the_file():
    with pytest.raises(ConfigError, match="did you mean 'hidden_size'"):
        load_config(None, ["model.hiden_size=3"])
    with pytest.raises(ConfigError, match=r"--set model\.cell is not valid YAML"):
        load_config(None, ["model.cell=[1"])


def test_a_config_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Config().model.num_layers = 2


def test_the_default_file_lists_every_setting_with_its_default():
    path = CONFIGS / "default.yaml"
    written = yaml.safe_load(path.read_text())
    assert {section: set(values) for section, values in written.items()} == {
        section: set(values) for section, values in Config().model_dump().items()
    }
    assert load_config(path) == Config()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_of_the_repository_can_be_loaded(path):
    assert load_config(path).training.evaluations >= 1


STEERING = [*range(0x20), 0x7F, *range(0x80, 0xA0), 0x2028, 0x202A, 0x202E, 0x2066, 0x200B]


@pytest.mark.parametrize("code", STEERING, ids=hex)
def test_no_message_about_a_config_steers_a_terminal(tmp_path, code):
    character = chr(code)
    escaped = f'"a\\U{code:08x}b"'
    texts = [f"{escaped}: 1", f"model: {{{escaped}: 2}}", f"{{{escaped}: 1, {escaped}: 2}}", f"a{character}b: [", "- 1"]
    for text in texts:
        path = tmp_path / (f"x{character}.yaml" if code not in (0, 0x2F) else "x.yaml")
        path.write_bytes(text.encode())
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert character not in str(caught.value).replace("\n  ", "") or code == 0x20
    for override in (f"model.a{character}b=1", f"a{character}b.c=1", f"a{character}b", f"model.cell=a{character}b"):
        with pytest.raises(ConfigError) as caught:
            load_config(None, [override])
        assert character not in str(caught.value).replace("\n  ", "") or code == 0x20


def test_the_environment_sets_the_threads_unless_an_override_does(monkeypatch, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("training: {threads: 3, steps: 7}\n")
    monkeypatch.setenv("GRU_COMPLETE_THREADS", "5")
    assert load_config().training.threads == 5
    assert (load_config(path).training.threads, load_config(path).training.steps) == (5, 7)
    assert load_config(path, ["training.threads=2"]).training.threads == 2
    monkeypatch.setenv("GRU_COMPLETE_THREADS", "")
    assert load_config(path).training.threads == 3
    assert load_config().training.threads is None


@pytest.mark.parametrize("value", ["0", "-1", "1025", "99999", "two", "1.5", "١", " 2", "2\x1b[31m"])
def test_a_number_of_threads_that_is_none_is_refused(monkeypatch, value):
    monkeypatch.setenv("GRU_COMPLETE_THREADS", value)
    with pytest.raises(ConfigError, match="GRU_COMPLETE_THREADS must be a number from 1 to 1024, not ") as error:
        load_config()
    assert "\x1b" not in str(error.value)
