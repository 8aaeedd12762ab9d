"""LoRA-Pro's closed forms against brute force, and its optimizer against what it promises."""

import copy

import pytest
import torch

from peft_registry.trainer.methods import implementation
from peft_registry.trainer.methods.lora_pro import (
    FactorPair,
    FactorsNotPaired,
    LoraPro,
    corrected,
    equivalent_gradient,
    moved,
    pairs_of,
    spectra_of,
    sylvester,
)
from tests.builders.training import a_model, a_training_file

M, N, R, SCALE = 12, 9, 3, 1.7


@pytest.fixture
def problem():
    """Factors, the gradient g of the full weight, and LoRA's own gradients a = s·Bᵀg and b = s·g·Aᵀ, in float64."""
    generator = torch.Generator().manual_seed(3)
    a, b, g = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((R, N), (M, R), (M, N)))
    return a, b, g, SCALE * b.T @ g, SCALE * g @ a.T


def best_by_least_squares(a, b, g):
    """The smallest ‖s·B·x + s·y·A − g‖ over all x (r, n) and y (m, r), as one dense least-squares problem."""
    columns = []
    for row in range(R):
        for column in range(N):
            x = torch.zeros(R, N, dtype=torch.float64)
            x[row, column] = 1
            columns.append((SCALE * b @ x).flatten())
    for row in range(M):
        for column in range(R):
            y = torch.zeros(M, R, dtype=torch.float64)
            y[row, column] = 1
            columns.append((SCALE * y @ a).flatten())
    matrix = torch.stack(columns, dim=1)
    solution = torch.linalg.lstsq(matrix, g.flatten(), driver="gelsd").solution
    return (matrix @ solution).reshape(M, N)


def test_the_equivalent_gradient_is_the_nearest_that_any_step_of_the_factors_can_make(problem):
    a, b, g, grad_a, grad_b = problem
    expected = best_by_least_squares(a, b, g)
    found = equivalent_gradient(a, b, grad_a, grad_b, SCALE)
    assert torch.allclose(found, expected, atol=1e-10)
    assert torch.allclose(moved(a, b, *corrected(a, b, grad_a, grad_b, SCALE), SCALE), expected, atol=1e-10)
    lora = moved(a, b, grad_a, grad_b, SCALE)
    best_scalar = float((lora * g).sum() / (lora * lora).sum())
    errors = [float((one - g).norm()) for one in (found, best_scalar * lora, lora)]
    assert errors == sorted(errors) and errors[0] < 0.99 * errors[1]


def test_any_x_gives_the_same_step_and_the_chosen_one_is_nearest_to_loras_own_gradients(problem):
    a, b, _, grad_a, grad_b = problem
    of_a, of_b = corrected(a, b, grad_a, grad_b, SCALE)

    def distance(x):
        return ((of_a + x @ a - grad_a) ** 2).sum() + ((of_b - b @ x - grad_b) ** 2).sum()

    zero = torch.zeros(R, R, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(distance(zero), zero)
    assert float(slope.abs().max()) < 1e-9
    other = torch.randn(R, R, dtype=torch.float64)
    assert torch.allclose(
        moved(a, b, of_a + other @ a, of_b - b @ other, SCALE), moved(a, b, of_a, of_b, SCALE), atol=1e-10
    )
    assert distance(other) > distance(zero.detach())


def test_sylvesters_equation_is_solved_as_scipy_solves_it(problem):
    from scipy.linalg import solve_sylvester

    a, b, *_ = problem
    constant = torch.randn(R, R, dtype=torch.float64)
    found = sylvester(*spectra_of([(a, b)])[0], constant)
    assert torch.allclose(b.T @ b @ found + found @ (a @ a.T), constant, atol=1e-12)
    assert torch.allclose(
        found, torch.from_numpy(solve_sylvester((b.T @ b).numpy(), (a @ a.T).numpy(), constant.numpy()))
    )


def test_at_the_start_b_is_zero_and_only_b_moves(problem):
    a, _, g, _, _ = problem
    b = torch.zeros(M, R, dtype=torch.float64)
    of_a, of_b = corrected(a, b, SCALE * b.T @ g, SCALE * g @ a.T, SCALE)
    assert torch.equal(of_a, torch.zeros_like(of_a))
    assert torch.allclose(of_b, SCALE * g @ a.T @ torch.linalg.inv(a @ a.T) / SCALE**2)


def test_a_factor_that_lost_rank_gives_finite_steps(problem):
    a, b, g, _, _ = problem
    b[:, 1] = b[:, 0]
    of_a, of_b = corrected(a, b, SCALE * b.T @ g, SCALE * g @ a.T, SCALE)
    assert torch.isfinite(of_a).all() and torch.isfinite(of_b).all()


def quadratic(form: str, steps: int, *, lr: float = 0.02, state=None, weights=None):
    """Train W = s·B·A towards a target; the losses, the optimizer and the factors."""
    generator = torch.Generator().manual_seed(1)
    target = torch.randn(M, N, generator=generator)
    a = torch.nn.Parameter(torch.randn(R, N, generator=generator))
    b = torch.nn.Parameter(torch.zeros(M, R))
    other = torch.nn.Parameter(torch.zeros(M, 1))
    if weights is not None:
        for parameter, values in zip((a, b, other), weights, strict=True):
            parameter.data.copy_(values)
    optimizer = LoraPro([FactorPair(a, b, SCALE)], [other], lr=lr, weight_decay=0.01, form=form)
    if state is not None:
        optimizer.load_state_dict(state)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = ((SCALE * b @ a + other - target) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, optimizer, [one.detach().clone() for one in (a, b, other)]


@pytest.mark.parametrize("form", ["efficient", "full"])
def test_both_forms_lower_the_loss_and_resume_to_the_same_bits(form):
    losses, _, whole = quadratic(form, 40)
    assert losses[-1] < 0.7 * losses[0]
    _, optimizer, half = quadratic(form, 17)
    _, _, resumed = quadratic(form, 23, state=copy.deepcopy(optimizer.state_dict()), weights=half)
    assert all(torch.equal(one, two) for one, two in zip(resumed, whole, strict=True))


def test_the_efficient_form_keeps_loras_memory_and_the_full_form_full_trainings():
    held = {}
    for form in ("efficient", "full"):
        _, optimizer, _ = quadratic(form, 1)
        held[form] = sum(
            one.numel() for state in optimizer.state.values() for name, one in state.items() if name != "step"
        )
    assert held == {"efficient": 2 * (R * N + M * R + M), "full": 2 * (M * N + M)}


@pytest.mark.parametrize("form", ["efficient", "full"])
def test_what_is_no_pair_is_moved_as_torchs_adamw_moves_it(form):
    ours, theirs = (torch.nn.Parameter(torch.arange(4.0)) for _ in range(2))
    a, b = torch.nn.Parameter(torch.randn(2, 3)), torch.nn.Parameter(torch.zeros(3, 2))
    optimizers = (
        LoraPro([FactorPair(a, b, 1.0)], [ours], lr=0.1, weight_decay=0.1, form=form),
        torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.1),
    )
    for step in range(5):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = torch.tensor([1.0, -2.0, 0.5, float(step)])
            optimizer.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_scales_are_those_of_each_module_also_with_rslora_and_patterns():
    config = a_training_file(
        method="lora_pro", lora__use_rslora=True, lora__rank_pattern={"q_proj": 2}, lora__alpha_pattern={"v_proj": 3.0}
    )
    model = implementation("lora_pro").prepare(a_model(), config, seed=1)
    by_rank = {(pair.a.shape[0], round(pair.scale, 6)) for pair in pairs_of(model)}
    assert by_rank == {(8, round(16 / 8**0.5, 6)), (2, round(16 / 2**0.5, 6)), (8, round(3 / 8**0.5, 6))}


def test_embeddings_are_refused():
    config = a_training_file(method="lora_pro", lora__target_modules=["embed_tokens", "q_proj"])
    model = implementation("lora_pro").prepare(a_model(tied=False), config, seed=1)
    with pytest.raises(FactorsNotPaired, match="embed_tokens"):
        implementation("lora_pro").optimizer(model, config)


@pytest.mark.parametrize("form", ["efficient", "full"])
def test_a_step_decomposes_all_matrices_of_a_size_in_one_call(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU each call is waited for: a model of 7B has 224 adapted matrices."""
    config = a_training_file(
        method="lora_pro", lora_pro__form=form, lora__rank_pattern={"q_proj": 2}, training__learning_rate=0.1
    )
    model = implementation("lora_pro").prepare(a_model(), config, seed=1)
    optimizer = implementation("lora_pro").optimizer(model, config)  # type: ignore[attr-defined]  # of this method alone
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    calls = []
    own = torch.linalg.eigh

    def counted(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(tuple(matrices.shape))
        values, vectors = own(matrices)
        return values, vectors

    monkeypatch.setattr(torch.linalg, "eigh", counted)
    optimizer.step()
    assert sorted(calls) == [(4, 2, 2), (24, 8, 8)], "two matrices for each of 2 and 12 layers"


def test_where_float64_is_slow_the_product_of_the_weights_size_is_fp32() -> None:
    a, b = torch.empty(R, N, device="meta"), torch.empty(M, R, device="meta")
    assert moved(a, b, a.double(), b.double(), SCALE).dtype == torch.float32
    assert moved(*(torch.zeros_like(one, device="cpu") for one in (a, b, a, b)), SCALE).dtype == torch.float64
