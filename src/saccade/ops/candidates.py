"""Best pairs of an anchor and a class, found without sorting all of them."""

from __future__ import annotations

from torch import Tensor

__all__ = ["top_candidates", "top_pairs"]


def top_pairs(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k best pairs of an anchor and a class of each image.

    The k best pairs belong to the k anchors whose best class scores highest, so only those anchors are sorted by class:
    exact, and several times faster than sorting A x C scores.

    Args:
        scores: (B, A, C), in any order-preserving form: probabilities or logits.
        k: Pairs an image.

    Returns:
        Scores, anchors and classes, (B, K) each, by falling score, with K = min(k, A): an anchor may occur several
        times.

    Example:
        >>> scores = torch.tensor([[[0.1, 0.9], [0.8, 0.7], [0.0, 0.2]]])
        >>> [value.tolist() for value in top_pairs(scores, 3)]
        [[[0.8999999761581421, 0.800000011920929, 0.699999988079071]], [[0, 1, 1]], [[1, 0, 1]]]
    """
    classes = scores.shape[2]
    k = min(k, scores.shape[1])
    anchors = scores.amax(dim=2).topk(k, dim=1).indices
    pairs = scores.gather(1, anchors[..., None].expand(-1, -1, classes)).flatten(1)
    values, order = pairs.topk(k, dim=1)
    rows = anchors.gather(1, order.div(classes, rounding_mode="floor"))
    return values, rows, order % classes


def top_candidates(logits: Tensor, k: int, quality: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The k best pairs of an anchor and a class by sigmoid score, of each image.

    Args:
        logits: (B, A, C).
        k: Pairs an image.
        quality: (B, A), 0..1: factor on the scores of an anchor (centre-ness, objectness).

    Returns:
        Scores 0..1, anchors and classes, (B, K) each, by falling score, with K = min(k, A).

    Example:
        >>> scores, anchors, labels = top_candidates(torch.tensor([[[0.0, 2.0], [1.0, -1.0]]]), k=2)
        >>> anchors.tolist(), labels.tolist()
        ([[0, 1]], [[1, 0]])
    """
    if quality is None:
        values, rows, labels = top_pairs(logits, k)
        return values.sigmoid(), rows, labels
    classes = logits.shape[2]
    k = min(k, logits.shape[1])
    anchors = (logits.amax(dim=2).sigmoid() * quality).topk(k, dim=1).indices
    chosen = logits.gather(1, anchors[..., None].expand(-1, -1, classes)).sigmoid()
    values, rows, labels = top_pairs(chosen * quality.gather(1, anchors)[..., None], k)
    return values, anchors.gather(1, rows), labels
