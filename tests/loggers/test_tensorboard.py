import re

import pytest
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from lightning_marlhf.callbacks.run_directory import RunDirectory
from lightning_marlhf.loggers.tensorboard import LAYOUT, TensorBoard, describe
from tests.callbacks.events import events
from tests.callbacks.tiny import TinyData, TinyModule, build_trainer


def test_events_lie_in_the_run_directory_itself_and_nothing_else_does(tmp_path):
    logger = TensorBoard(tmp_path / "run")
    logger.log_metrics({"objective/kl": 2.0}, step=4)
    logger.finalize("success")
    (file,) = (tmp_path / "run").iterdir()
    assert file.name.startswith("events.out.tfevents.")
    assert [(e.step, e.value) for e in events(tmp_path / "run").Scalars("objective/kl")] == [(4, 2.0)]


def test_the_dashboards_are_grouped_by_subject(tmp_path):
    logger = TensorBoard(tmp_path)
    logger.log_metrics({"lr": 1.0}, step=1)
    logger.finalize("success")
    (summary,) = events(tmp_path).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(summary.tensor_proto.string_val[0])
    assert [c.title for c in layout.category] == ["objective", "policy", "critic", "macro actions", "timing"]


def test_a_restarted_log_is_whole_again(tmp_path):
    logger = TensorBoard(tmp_path)
    logger.log_metrics({"old": 1.0}, step=1)
    logger.experiment.flush()
    (old,) = tmp_path.iterdir()
    old.unlink()
    logger.restart()
    logger.log_metrics({"new": 1.0}, step=1)
    logger.finalize("success")
    assert events(tmp_path).Tags()["scalars"] == ["new"]
    assert len(events(tmp_path).Tensors("custom_scalars__config__")) == 1


METRICS = """objective/kl objective/entropy objective/non_score_reward objective/rlhf_reward objective/scores
objective/gold objective/scores_clamped
policy/approxkl_avg policy/clipfrac_avg policy/entropy_avg loss/policy_avg loss/value_avg loss/sft
loss/reward_model val/clipfrac_avg val/ratio val/ratio_var lr critic/vf_explained_var response_length/mean
response_length/max response_length/min response_length/clip_ratio timing_s/generation timing_s/update
perf/throughput macro/length_mean macro/length_max macro/count_mean macro/advantage_var eval/kl eval/gold"""


@pytest.mark.parametrize("name", METRICS.split())
def test_every_metric_stands_in_one_chart_and_has_a_description(name):
    charts = [
        chart
        for charts in LAYOUT.values()
        for chart, tags in charts.items()
        if any(re.fullmatch(pattern, name) for pattern in tags)
    ]
    assert len(charts) == 1
    assert describe(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("objective/entropy", "policy/entropy_avg"),  # nats per response and per token
        ("response_length/clip_ratio", "eval/ended"),  # opposite shares
        ("objective/scores", "objective/rm"),  # scorers have units of their own
        ("val/ratio", "val/ratio_var"),
        ("loss/sft", "loss/reward_model"),
    ],
)
def test_no_chart_mixes_units_or_opposite_shares(one, other):
    for charts in LAYOUT.values():
        for tags in charts.values():
            assert not all(any(re.fullmatch(p, name) for p in tags) for name in (one, other))


def test_entropies_say_their_units():
    assert "nats per response" in describe("objective/entropy")
    assert "nats per token" in describe("policy/entropy_avg")


def test_hyper_parameters_are_flat_and_begin_with_lr_n_and_seed(tmp_path):
    logger = TensorBoard(tmp_path)
    termination = {"class_path": "FixedNGram", "init_args": {"n": 5}}
    optimization = {"betas": (0.9, 0.95), "lr": 1e-3}
    model = {"optimization": optimization, "termination": termination, "scorer": None}
    logger.log_hyperparams({"model": {"init_args": model}, "seed_everything": 3})
    logger.finalize("success")
    plugin = events(tmp_path).summary_metadata

    def content(tag):
        return HParamsPluginData.FromString(plugin[f"_hparams_/{tag}"].plugin_data.content)

    names = [info.name for info in content("experiment").experiment.hparam_infos]
    values = content("session_start_info").session_start_info.hparams
    assert names[:3] == ["lr", "n", "seed"]
    first = [info.name for info in content("experiment").experiment.hparam_infos if info.differs]
    assert first == names[:3]  # TensorBoard sorts them so, whatever the order in the file
    assert [values[name].number_value for name in names[:3]] == [1e-3, 5, 3]
    assert {"model.init_args.optimization.betas", "model.init_args.scorer"} <= set(names)


def test_resuming_forgets_what_was_logged_after_the_checkpoint(tmp_path):
    first = build_trainer(tmp_path, RunDirectory(), logger=TensorBoard(tmp_path), max_steps=12)
    first.fit(TinyModule(), datamodule=TinyData())
    early = build_trainer(tmp_path / "other", max_steps=8)
    early.fit(TinyModule(), datamodule=TinyData())
    early.save_checkpoint(tmp_path / "at8.ckpt")
    module = TinyModule(lambda step: {"objective/scores": -float(step)})
    second = build_trainer(tmp_path, RunDirectory(resuming=True), logger=TensorBoard(tmp_path), max_steps=16)
    second.fit(module, datamodule=TinyData(), ckpt_path=tmp_path / "at8.ckpt")
    scalars = [(e.step, e.value) for e in events(tmp_path).Scalars("objective/scores")]
    assert scalars == [(4, 4.0), (8, 8.0), (12, -12.0), (16, -16.0)]
