"""Row 7: no mistake that changes results passes in silence."""

from reliability.mistakes import mistakes, silent


def test_no_mistake_passes_in_silence(tmp_path):
    assert len(mistakes(tmp_path / "count")) >= 25
    assert silent(tmp_path / "run") == {}
