"""KubeRay's keys above the pod templates, as a schema: those that this project may use.

Written down here because no package carries the operator's own schema. Sources: ``ray-operator/apis/ray/v1`` of
ray-project/kuberay (``raycluster_types.go``, ``rayjob_types.go``) and, for ``authOptions``, the notes of its release
1.5.1. The pod templates inside are Kubernetes' own and validated as such.
"""

from typing import Any

STRING, COUNT, FLAG, ANYTHING = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}, {}
TEXTS = {"type": "object", "additionalProperties": STRING}


def _keys(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


_GROUP = {"rayStartParams": TEXTS, "template": {"type": "object"}}
_HEAD = _keys(("template",), serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}, **_GROUP)
_WORKERS = _keys(
    ("groupName", "template", "minReplicas", "maxReplicas"),
    groupName=STRING,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    **_GROUP,
)
CLUSTER = _keys(
    ("rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"),
    rayVersion=STRING,
    authOptions=_keys(("mode",), mode={"enum": ["token"]}),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=_keys(
        idleTimeoutSeconds=COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        resources=ANYTHING,
        securityContext=ANYTHING,
    ),
    gcsFaultToleranceOptions=_keys(
        ("redisAddress",),
        redisAddress=STRING,
        redisPassword=_keys(("valueFrom",), valueFrom=_keys(("secretKeyRef",), secretKeyRef=ANYTHING)),
    ),
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS, "minItems": 1},
)
JOB = _keys(
    ("entrypoint", "rayClusterSpec"),
    submissionMode={"enum": ["K8sJobMode", "HTTPMode"]},
    entrypoint=STRING,
    backoffLimit=COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    rayClusterSpec=CLUSTER,
)


def schema(kind: str) -> dict[str, Any]:
    """Of a whole manifest of this kind."""
    return _keys(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata={"type": "object"},
        spec={"RayCluster": CLUSTER, "RayJob": JOB}[kind],
    )
