"""One class per stage and per cause a caller can act on, each with its exit code and a hint."""

from __future__ import annotations

from servegen.redact import redacted


class ServegenError(Exception):
    """What went wrong, with which value; `hint` says what to try. No text of it holds a URL's login."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str, details: str = "") -> None:
        super().__init__(redacted(message))
        self.hint = redacted(hint)
        self.details = redacted(details)
        """Lines worth reading, printed above the message, such as a resolver's explanation or a pod's log."""


class DiskFullError(ServegenError):
    """The disk of the cache, of temporary files or of the output is full."""

    exit_code = 3

    def __init__(self, message: str, *, details: str = "") -> None:
        hint = "make room, or SERVEGEN_CACHE_DIR=FOLDER on another disk; nothing was left half-written"
        super().__init__(message, hint=hint, details=details)


class ConfigError(ServegenError):
    """servegen.yaml, an option or an environment variable has a value that cannot be used."""

    exit_code = 10


class ModelError(ServegenError):
    """The model does not exist, is damaged, or cannot be served."""

    exit_code = 11


class ModelURIError(ModelError):
    """The text is not a model URI that MLflow knows."""

    exit_code = 12


class ModelStoreError(ModelError):
    """The tracking server, registry or artifact store does not answer or refuses."""

    exit_code = 13


class SignatureError(ModelError):
    """The model has no signature, so requests to it could not be checked."""

    exit_code = 14


class LockError(ServegenError):
    """The requirements cannot be turned into exact wheels for the target platform."""

    exit_code = 20


class StaleLockError(LockError):
    """servegen.lock does not fit the model or the options, and may not be renewed."""

    exit_code = 21


class BuildError(ServegenError):
    """The image cannot be assembled."""

    exit_code = 30


class BaseImageError(BuildError):
    """The base image cannot be had or does not fit the model."""

    exit_code = 31


class ConversionRefusedError(BuildError):
    """The model cannot become ONNX, or the proof found a row that the two answer differently."""

    exit_code = 35


class VerifyError(ServegenError):
    """The built image does not start, or answers otherwise than the model does in process."""

    exit_code = 40


class SandboxError(VerifyError):
    """This machine offers no means to run an image."""

    exit_code = 41


class UnsignedError(VerifyError):
    """The image, or a document about it, has no signature."""

    exit_code = 42


class WrongKeyError(VerifyError):
    """There are signatures, and none of them was made with this key."""

    exit_code = 43


class TamperedError(VerifyError):
    """A blob, SBOM, provenance or signature in the registry is not the one of this image."""

    exit_code = 44


class RegistryError(ServegenError):
    """The registry does not answer, or answered what we did not ask for."""

    exit_code = 50


class RegistryAuthError(RegistryError):
    """The registry wants a login or refuses this one."""

    exit_code = 51


class ImageNotFoundError(RegistryError):
    """The image, tag or digest is not in the registry or the local store."""

    exit_code = 52


class RenderError(ServegenError):
    """The deployment cannot be written as files of the wanted format."""

    exit_code = 60


class ValidationError(ServegenError):
    """Manifests that were checked have findings."""

    exit_code = 61


class DeployError(ServegenError):
    """The cluster refuses the objects."""

    exit_code = 70


class ClusterUnreachableError(DeployError):
    """No cluster answers for this kubeconfig and context, or it does not know the login."""

    exit_code = 71


class NamespaceError(DeployError):
    """The namespace does not exist or is being deleted."""

    exit_code = 72


class ConflictError(DeployError):
    """Another field manager owns a field that we want to set."""

    exit_code = 73


class RolloutError(DeployError):
    """The objects were accepted, but the pods do not become ready."""

    exit_code = 74


class AbsentKindError(DeployError):
    """The cluster does not know a kind of object: the operator that brings it is not installed."""

    exit_code = 75


class ForbiddenError(DeployError):
    """The login may not do what a delivery needs (RBAC)."""

    exit_code = 76


class AdmissionError(DeployError):
    """A rule of the cluster refuses the objects: a webhook, a policy, or Pod Security."""

    exit_code = 77


class QuotaError(DeployError):
    """The namespace's ResourceQuota or LimitRange has no room for the pods."""

    exit_code = 78


class ForeignError(DeployError):
    """An object of that name belongs to another tool or serves another model."""

    exit_code = 79


class NotDeployedError(DeployError):
    """There is no such deployment, or no such release of it."""

    exit_code = 80


class ImagePullError(RolloutError):
    """A node cannot pull the image."""

    exit_code = 81


class CrashError(RolloutError):
    """The server in the image ends, is killed for its memory, or never answers its startup probe."""

    exit_code = 82


class UnschedulableError(RolloutError):
    """No node has room for a pod."""

    exit_code = 83


class FleetError(DeployError):
    """Of several models, some failed; the others are done."""

    exit_code = 84


class OvertakenError(RolloutError):
    """Somebody else changed or deleted the Deployment while its pods were awaited."""

    exit_code = 85


class CanaryError(DeployError):
    """What ran beside the stable version did worse, so that all requests went back."""

    exit_code = 87


class TrafficError(DeployError):
    """A canary got too few requests to be judged; it goes on getting them."""

    exit_code = 88


class GitError(ServegenError):
    """Git, or the repository, does not do what a delivery needs."""

    exit_code = 90


class GitAuthError(GitError):
    """The remote repository wants a login or refuses this one."""

    exit_code = 91


class ProtectedBranchError(GitError):
    """A rule or hook of the remote repository refuses the push."""

    exit_code = 92


class IdentityError(GitError):
    """Git does not know whose commits these are."""

    exit_code = 93


class PushError(GitError):
    """Every attempt to push failed, by writers that came first or by the network."""

    exit_code = 94


class StaleAliasError(GitError):
    """The repository has a newer version of the model than the one to be deployed."""

    exit_code = 95


class EditedError(GitError):
    """A file that servegen owns was edited by hand."""

    exit_code = 96


class HeldError(GitError):
    """The version was rolled back and may not be deployed again."""

    exit_code = 97


class SigningError(GitError):
    """The commit cannot be signed as Git's configuration asks."""

    exit_code = 98


class ForgeError(GitError):
    """The forge does not open or update the pull request."""

    exit_code = 99


class PromotionError(GitError):
    """A release may not go from one environment to another: a condition is not met."""

    exit_code = 100


class UncheckedError(GitError):
    """Neither registry nor repository nor cluster could be asked, so nobody knows whether they differ."""

    exit_code = 101


class StoppedError(ServegenError):
    """Ctrl-C, or SIGTERM and then the code is 143, ended the run."""

    exit_code = 130
