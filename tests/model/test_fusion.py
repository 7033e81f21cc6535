import torch

from plcp.model.fusion import Fusion


def test_the_last_block_answers_one_token_as_if_it_answered_all() -> None:
    torch.manual_seed(0)
    fusion = Fusion(width=32, layers=2, heads=4, dropout=0.1).eval()
    modalities, patches = [torch.randn(5, 32) for _ in range(3)], torch.randn(5, 4, 32)
    tokens = torch.cat([torch.stack([fusion.cls.expand(5, -1), *modalities], 1), patches], 1)
    for block in fusion.blocks:
        tokens = block(tokens)
    assert torch.allclose(fusion(modalities, patches), fusion.norm(tokens[:, 0]), atol=1e-6)


def test_without_layers_the_joint_vector_is_the_first_token() -> None:
    fusion = Fusion(width=8, layers=0, heads=2, dropout=0.0)
    assert fusion([torch.randn(3, 8)], torch.randn(3, 2, 8)).shape == (3, 8)
