"""No file of the repository holds a password, a token or a key."""

import subprocess
from pathlib import Path

import pytest
from detect_secrets import SecretsCollection
from detect_secrets.settings import default_settings

from tests.infra.manifests import ROOT

# Put together here, so that this file is not found itself.
PLANTED = {
    "AWS Access Key": ("notes.md", "The key is AKIA" + "QZ7TXN4RPLK2WM3V."),
    "Private Key": ("id_ed25519", "-----BEGIN OPENSSH " + "PRIVATE KEY-----"),
    "Basic Auth Credentials": ("settings.py", 'URI = "postgresql://mlflow:' + 'kT9vQ2xL7m@db:5432/mlflow"'),
    "Secret Keyword": ("compose.yaml", "POSTGRES_PASS" + 'WORD: "kT9vQ2xL7mW4"'),
    "GitHub Token": ("job.sh", "git clone https://ghp_" + "a8Fk2LmQ9xZ7tR4vB6nW1cY3dE5gH0jK2pS4@git.example.com"),
    "JSON Web Token": ("curl.txt", "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiJjdWhzIn0.Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6"),
}


def secrets(files: list[Path]) -> list[str]:
    """``file:line: kind`` of what looks like a secret."""
    found = SecretsCollection()
    with default_settings():
        for file in files:
            found.scan_file(str(file))
    return sorted({f"{name}:{secret.line_number}: {secret.type}" for name, secret in found})


def repository() -> list[Path]:
    """Files that are committed or would be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted(ROOT / name for name in names if name and (ROOT / name).is_file())


def test_the_repository_holds_no_secret() -> None:
    files = repository()
    assert {ROOT / "infra" / "mlflow" / "compose.yaml", ROOT / "requirements.lock"} <= {*files}
    assert secrets(files) == []


@pytest.mark.parametrize("kind", sorted(PLANTED))
def test_a_secret_is_found(kind: str, tmp_path: Path) -> None:
    name, line = PLANTED[kind]
    (tmp_path / name).write_text(f"first line\n{line}\nlast line\n")
    assert f"{tmp_path / name}:2: {kind}" in secrets([tmp_path / name])


def test_an_empty_example_and_a_reference_are_no_secrets(tmp_path: Path) -> None:
    lines = ["POSTGRES_PASSWORD=", "PGPASSWORD: ${POSTGRES_PASSWORD:?in .env}", "RAY_AUTH_MODE=token"]
    (tmp_path / "env").write_text("\n".join(lines))
    assert secrets([tmp_path / "env"]) == []


def test_the_file_of_a_local_server_s_passwords_is_never_committed() -> None:
    for name in ("infra/mlflow/.env", "infra/monitoring/.env"):
        ignored = subprocess.run(["git", "check-ignore", "--quiet", name], cwd=ROOT, check=False)
        assert ignored.returncode == 0, name
