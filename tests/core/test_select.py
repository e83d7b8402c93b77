"""Which weights `targets` means, and what it says when it means none."""

import pytest
import torch
from torch import nn

from rankwise import LoRA, TargetError, adapt
from rankwise.core.select import all_candidates, find_targets


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("q_proj", "k_proj", "o_proj")})
        self.mlp = nn.ModuleDict({"up_proj": nn.Linear(4, 8), "down_proj": nn.Linear(8, 4)})
        self.norm = nn.LayerNorm(4)


class Model(nn.Module):
    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.layers = nn.ModuleList([Block(), Block()])
        self.connector = nn.Linear(4, 4)
        self.lm_head = nn.Linear(4, 10, bias=False)
        if tied:
            self.lm_head.weight = self.embed.weight


def names(model: nn.Module, targets) -> list[str]:
    return [target.name for target in find_targets(model, targets)]


def test_all_linear_leaves_the_output_head_and_the_embedding_out():
    chosen = names(Model(), "all-linear")
    assert len(chosen) == 11
    assert "lm_head" not in chosen
    assert "embed" not in chosen


def test_attention_and_mlp_split_the_blocks():
    model = Model()
    attention, mlp = names(model, "attention"), names(model, "mlp")
    assert {name.rsplit(".", 1)[-1] for name in attention} == {"q_proj", "k_proj", "o_proj"}
    assert {name.rsplit(".", 1)[-1] for name in mlp} == {"up_proj", "down_proj"}
    assert sorted(attention + mlp) == sorted(set(names(model, "all-linear")) - {"connector"})


def test_suffixes_match_whole_path_components_and_a_string_is_one_regular_expression():
    model = Model()
    assert names(model, ["q_proj"]) == ["layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj"]
    assert names(model, ["1.self_attn.q_proj"]) == ["layers.1.self_attn.q_proj"]
    assert names(model, r"layers\.0\..*_proj") == [n for n in names(model, "all-linear") if n.startswith("layers.0.")]
    with pytest.raises(TargetError, match="'proj' of targets matches none"):
        names(model, ["proj"])


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["q_porj"], "Did you mean q_proj"),
        (["q_proj", "up_porj"], r"'up_porj' of targets matches none.*Did you mean up_proj"),
        ("q_proj", "matches none of the 13 weights"),
        ("layers.(", "not a regular expression"),
        ([], "empty list"),
        (["norm"], "matches none"),
    ],
)
def test_what_matches_nothing_is_an_error_that_names_the_nearest(targets, message):
    with pytest.raises(TargetError, match=message):
        names(Model(), targets)


def test_a_model_without_matrices_is_refused():
    with pytest.raises(TargetError, match="no weight that can be adapted"):
        names(nn.Sequential(nn.LayerNorm(4)), "all-linear")


def test_an_attention_or_recurrent_module_stands_for_all_its_matrices():
    model = nn.ModuleDict({"attn": nn.MultiheadAttention(4, 2), "rnn": nn.GRU(4, 3, num_layers=2)})
    assert names(model, ["attn"]) == ["attn.in_proj_weight", "attn.out_proj"]
    assert len(names(model, ["rnn"])) == 4
    assert names(model, "all-linear") == ["attn.in_proj_weight", "attn.out_proj"]


def test_separate_projections_of_attention_are_three_targets():
    model = nn.ModuleDict({"attn": nn.MultiheadAttention(4, 2, kdim=3, vdim=5)})
    found = {target.name: target.shape for target in find_targets(model, "attention")}
    assert found == {
        "attn.q_proj_weight": (4, 4),
        "attn.k_proj_weight": (4, 3),
        "attn.v_proj_weight": (4, 5),
        "attn.out_proj": (4, 4),
    }


def test_expert_stacks_belong_to_all_linear():
    class TinyExperts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_up_proj = nn.Parameter(torch.zeros(3, 8, 4))

    model = nn.ModuleDict({"experts": TinyExperts()})
    (target,) = find_targets(model, "all-linear")
    assert (target.name, target.batch, target.out_features, target.in_features) == ("experts.gate_up_proj", (3,), 8, 4)


def test_a_tied_weight_is_adapted_whole_or_not_at_all():
    model = Model(tied=True)
    with pytest.raises(TargetError, match="'embed' shares its weight with lm_head"):
        names(model, ["embed"])
    with pytest.raises(TargetError, match="untie"):
        names(model, ["lm_head"])
    (target,) = find_targets(model, ["embed", "lm_head"])
    assert target.shape == (10, 4)


def test_max_norm_embeddings_are_refused():
    with pytest.raises(TargetError, match=r"max_norm=1.0"):
        names(nn.ModuleDict({"embed": nn.Embedding(5, 3, max_norm=1.0)}), ["embed"])


def test_a_vector_is_no_target():
    with pytest.raises(TargetError, match="matches none"):
        names(Model(), ["layers.0.norm.weight"])


def test_candidates_stay_the_same_once_adapted():
    model = Model()
    before = list(all_candidates(model))
    adapt(model, LoRA(rank=2), targets="all-linear")
    assert list(all_candidates(model)) == before


def test_a_compiled_model_has_the_names_of_the_model_itself():
    model = Model()
    adaptation = adapt(torch.compile(model), LoRA(rank=2), targets=["q_proj"])
    assert list(adaptation.targets) == ["layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj"]


def test_ranks_override_single_targets_and_refuse_what_matches_nothing():
    adaptation = adapt(Model(), LoRA(rank=2), targets="all-linear", ranks={"q_proj": 3, "layers.1.self_attn.q_proj": 1})
    ranks = {name: adapter.right.shape[0] for name, adapter in adaptation.adapters.items()}
    assert ranks["layers.0.self_attn.q_proj"] == 3
    assert ranks["layers.1.self_attn.q_proj"] == 1
    assert ranks["layers.0.self_attn.k_proj"] == 2
    with pytest.raises(TargetError, match="'q_porj' of ranks matches none"):
        adapt(Model(), LoRA(rank=2), targets="all-linear", ranks={"q_porj": 3})
