"""The page that MLflow shows first for a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def markdown(parameters: Mapping[str, str], tags: Mapping[str, str], figures: Mapping[str, float]) -> str:
    """Markdown: what the run is, what it reached (`figures`), what it came from."""
    lines = [
        f"**{tags.get('model', 'run')}** on **{tags.get('dataset')}**, image features of **{tags.get('encoder')}**, "
        f"seed {parameters.get('seed')}.",
        "",
        *_table(("result", "value"), ((name, f"{value:.4f}") for name, value in figures.items())),
        *_table(
            ("came from", ""),
            (
                (label, tags[tag])
                for label, tag in (
                    ("DVC experiment", "dvc.experiment"),
                    ("commit", "mlflow.source.git.commit"),
                    ("uncommitted code", "git.uncommitted_code"),
                    ("dataset", "dataset.digest"),
                    ("embeddings", "embeddings.digest"),
                    ("processor", "cpu"),
                    ("GPU", "gpu"),
                )
                if tag in tags
            ),
        ),
    ]
    return "\n".join(lines)


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> list[str]:
    body = [f"| {name} | {value} |" for name, value in rows]
    return [f"| {head[0]} | {head[1]} |", "|---|---|", *body, ""] if body else []
