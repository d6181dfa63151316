from lightning_marlhf.reporting.findings import findings
from lightning_marlhf.reporting.old_spec import ReportSpec

from lightning_marlhf.reporting.load import load_study

SPEC = ReportSpec.from_mapping(
    {
        "baseline": "sft",
        "reference_run": "ppo",
        "rows": [
            {"stage": "sft", "label": "SFT"},
            {"stage": "ppo", "label": "PPO"},
            {"stage": "ma"},
        ],
        "scores": {"gold": "Gold"},
    }
)


def write(tmp_path, make_completion, make_run, stage, scores):
    answers = [make_completion(str(n), scores={"gold": s}) for n, s in enumerate(scores)]
    make_run(tmp_path / stage / "seed-1", answers=answers)


def test_each_row_is_compared_with_the_baseline_and_the_reference(
    tmp_path, make_completion, make_run
):
    write(tmp_path, make_completion, make_run, "sft", [1.0, 1.0, 1.0])
    write(tmp_path, make_completion, make_run, "ppo", [2.0, 3.0, 4.0])
    write(tmp_path, make_completion, make_run, "ma", [12.0, 13.0, 14.0])
    sentences = findings(load_study(SPEC, output=tmp_path, seeds=[1]))
    assert sentences == (
        "PPO: Gold +2.00 against SFT (95 % interval -0.48 to 4.48 over 3 posts, which includes 0).",
        "ma: Gold +12.00 against SFT (95 % interval 9.52 to 14.48 over 3 posts); "
        "+10.00 against PPO (95 % interval 10.00 to 10.00 over 3 posts).",
    )


def test_without_answers_nothing_is_claimed(tmp_path):
    assert findings(load_study(SPEC, output=tmp_path, seeds=[1])) == ()
