"""Ways to install the chart: what people do with it, each by name.

Rendered and looked at here; sent to a real API server (dry run) by e2e/chart.
"""

from __future__ import annotations

from typing import Final

from tests.chart.helm import Values, nested

DIGEST: Final = "sha256:" + "0123456789abcdef" * 4
KEY: Final = "alice:" + "ab" * 32

VALUE_SETS: Final[dict[str, Values]] = {
    "as it is": {},
    "a test drive": nested("engines.simulated.enabled", True),
    "simulated SGLang": {
        "engines": {
            "simulated": {
                "enabled": True,
                "kind": "sglang",
                "model": "qwen3-32b",
                "servedModelName": "Qwen/Qwen3-32B",
                "replicas": 8,
                "speed": 12.5,
                "extraArgs": ["--max-num-seqs=64", "--seed", "7"],
            }
        }
    },
    "pods by another label": nested(
        "discovery.kubernetes", {"selector": "app in (vllm, sglang),!old", "ports": [8000, 8001]}
    ),
    "pods by a named port in another namespace": nested(
        "discovery.kubernetes", {"selector": "app=vllm", "ports": ["http"], "namespace": "models"}
    ),
    "pods of its own namespace by name": nested("discovery.kubernetes.namespace", "llm"),
    "pods of all namespaces": nested("discovery.kubernetes", {"namespace": "*"}),
    "a service": nested("discovery.kubernetes", {"kind": "service", "name": "vllm", "ports": []}),
    "a service's port elsewhere": nested(
        "discovery.kubernetes",
        {"kind": "service", "name": "vllm", "ports": ["http"], "namespace": "models"},
    ),
    "an inference pool": nested(
        "discovery.kubernetes", {"kind": "inference_pool", "name": "llama"}
    ),
    "fixed endpoints": {
        "discovery": {"kubernetes": {"kind": "none"}},
        "config": {"endpoints": ["http://10.0.0.1:8000", {"url": "https://e:8000", "name": "e"}]},
    },
    "a list in a config map": {
        "discovery": {
            "kubernetes": {"kind": "none"},
            "file": {"configMap": "engines", "key": "list.yaml"},
        }
    },
    "everything at once that finds engines": {
        "discovery": {"file": {"configMap": "engines"}},
        "config": {"endpoints": ["http://10.0.0.1:8000"]},
    },
    "no rights made here": {
        "rbac": {"create": False, "serviceAccount": {"create": False, "name": "given"}}
    },
    "hashed keys": nested("router.apiKeys.hashed", [KEY, KEY.replace("alice", "ops") + " admin"]),
    "keys of a secret, and a test with one": {
        "router": {"apiKeys": {"existingSecret": "clients", "key": "keys.txt"}},
        "test": {"apiKeySecret": "tester"},
    },
    "engines that ask for a key": {
        "router": {"engineKey": {"value": "sk-engine"}},
        "engines": {"simulated": {"enabled": True}},
    },
    "the engines' key of a secret": {
        "router": {"engineKey": {"existingSecret": "engines", "key": "k"}},
        "config": {"upstream": {"max_idle": 16}},
        "engines": {"simulated": {"enabled": True}},
    },
    "TLS": nested("router.tls.existingSecret", "my-tls"),
    "scaled by CPU": nested("router.autoscaling.enabled", True),
    "scaled by both": nested(
        "router.autoscaling",
        {
            "enabled": True,
            "minReplicas": 3,
            "maxReplicas": 50,
            "busyRatio": 0.7,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
        },
    ),
    "one small gateway": {
        "router": {
            "replicas": 1,
            "podDisruptionBudget": {"enabled": False},
            "topologySpreadConstraints": [],
            "resources": {},
        }
    },
    "a large gateway": {
        "config": {
            "workers": 8,
            "policy": {"type": "dualmap", "mode": "spill", "depth": {"hot_share": 1.5}},
            "admission": {"max_queued_bytes": 1073741824, "max_wait_s": 2.5},
            "limits": {"max_body_bytes": 134217728},
            "slo": {"ttft_ms": 2000, "models": {"org/model.v1": 500}},
            "shutdown": {"grace_s": 12.5},
            "seed": 7,
        },
        "router": {
            "podDisruptionBudget": {"maxUnavailable": "25%"},
            "resources": {"requests": {"cpu": 8, "memory": "4Gi"}, "limits": {"memory": "8Gi"}},
        },
    },
    "another policy by its word": nested("config.policy", "least-request"),
    "images of a registry": {
        "image": {
            "registry": "registry.example.com:5000/team/",
            "tag": "1.2.3",
            "pullPolicy": "Always",
            "pullSecrets": ["pull"],
        },
        "router": {"image": {"digest": DIGEST}},
        "engines": {"simulated": {"enabled": True, "image": {"tag": "dev"}}},
    },
    "scheduling": {
        "commonLabels": {"team": "ml"},
        "router": {
            "priorityClassName": "high",
            "nodeSelector": {"pool": "cpu"},
            "tolerations": [{"key": "cpu", "operator": "Exists"}],
            "affinity": {
                "podAntiAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "weight": 1,
                            "podAffinityTerm": {
                                "topologyKey": "kubernetes.io/hostname",
                                "labelSelector": {"matchLabels": {"a": "b"}},
                            },
                        }
                    ]
                }
            },
            "podLabels": {"a": "b"},
            "podAnnotations": {"c": "d"},
            "env": [{"name": "TZ", "value": "UTC"}],
            "extraVolumes": [{"name": "scratch", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
        },
        "engines": {
            "simulated": {"enabled": True, "podLabels": {"e": "f"}, "nodeSelector": {"pool": "cpu"}}
        },
    },
    "a load balancer": nested(
        "router.service",
        {
            "type": "LoadBalancer",
            "port": 443,
            "annotations": {"cloud/internal": "true"},
            "loadBalancerClass": "example.com/lb",
            "trafficDistribution": "PreferSameZone",
        },
    ),
    "everything that monitors": {
        "engines": {"simulated": {"enabled": True}},
        "monitoring": {
            "scrapeAnnotations": False,
            "podMonitor": {"enabled": True, "interval": "5s", "labels": {"release": "p"}},
            "prometheusRule": {"enabled": True, "labels": {"release": "p"}},
            "dashboards": {"enabled": True},
        },
    },
    "network policies": {
        "engines": {"simulated": {"enabled": True}},
        "networkPolicy": {
            "enabled": True,
            "egress": True,
            "clients": [{"namespaceSelector": {"matchLabels": {"llm": "client"}}}],
            "monitoring": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
            "engines": [{"podSelector": {"matchLabels": {"app": "vllm"}}}],
        },
    },
    "open network policies": {
        "engines": {"simulated": {"enabled": True}},
        "networkPolicy": {"enabled": True, "egress": True},
    },
    "network policies for other ports": {
        "discovery": {"kubernetes": {"ports": [8100, 8101]}},
        "networkPolicy": {"enabled": True, "egress": True, "apiServerPorts": [16443]},
    },
    "network policies with the engines' ports named": {
        "discovery": {"kubernetes": {"ports": ["http"]}},
        "networkPolicy": {"enabled": True, "egress": True, "enginePorts": [8200]},
    },
    "users chosen by the cluster": nested(
        "podSecurity", {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    ),
    "another user": {
        "podSecurity": {"runAsUser": 1000660000, "runAsGroup": 0, "fsGroup": 1000660000},
        "engines": {"simulated": {"enabled": True}},
    },
    "labels that all could have set": {
        "commonLabels": {"team": "ml", "version": "1e5"},
        "router": {
            "podLabels": {"team": "gateways"},
            "podAnnotations": {"prometheus.io/scrape": "false"},
        },
        "engines": {"simulated": {"enabled": True, "podLabels": {"team": "engines"}}},
        "monitoring": {
            "podMonitor": {"enabled": True, "labels": {"team": "watchers"}},
            "prometheusRule": {"enabled": True, "labels": {"team": "watchers"}},
            "dashboards": {"enabled": True, "labels": {"team": "watchers"}},
        },
    },
    "words that YAML would read otherwise": {
        "nameOverride": "123",
        "fullnameOverride": "null",
        "commonLabels": {"a": "1e5", "b": "yes"},
        "image": {"pullSecrets": ["0777"]},
        "router": {
            "apiKeys": {"existingSecret": "1e5", "key": "1"},
            "engineKey": {"existingSecret": "123", "key": "0x1"},
            "tls": {"existingSecret": "true"},
            "priorityClassName": "1e9",
            "service": {"type": "LoadBalancer", "loadBalancerClass": "1e3"},
        },
        "test": {"apiKeySecret": "456"},
        "rbac": {"serviceAccount": {"name": "1e1"}},
        "discovery": {"file": {"configMap": "789", "key": "12"}},
        "engines": {
            "simulated": {"enabled": True, "servedModelName": "a: b", "extraArgs": ["--seed", "7"]}
        },
    },
    "more objects": {
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": '{{ include "cardan.fullname" . }}-more'},
            },
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-text\n",
        ]
    },
    "an operator": nested("controller.enabled", True),
    "a fleet of simulated engines": {
        "controller": {"enabled": True},
        "engines": {"simulated": {"enabled": True, "scaledByOthers": True}},
    },
    "an operator of several namespaces": {
        "controller": {
            "enabled": True,
            "namespaces": ["llm", "models"],
            "extraTargets": [
                {"apiGroup": "leaderworkerset.x-k8s.io", "resource": "leaderworkersets"}
            ],
            "config": {
                "tick_s": 5,
                "metrics": {
                    "prometheus": {"url": "https://prometheus.monitoring.svc:9091/p"},
                    "external": {"jobs": "sum by (namespace) (jobs_waiting)"},
                },
                "gateways": {"namespaces": ["shared"]},
                "record": {"folder": "/recordings", "max_bytes": 1_073_741_824},
                "lease": {"duration_s": 30, "renew_deadline_s": 20},
                "budgets": {"h100": {"gpus": 64}},
            },
        },
        "networkPolicy": {"enabled": True, "egress": True},
    },
    "an operator of the whole cluster": {
        "controller": {
            "enabled": True,
            "replicas": 3,
            "namespaces": ["*"],
            "keda": {"enabled": True, "port": 9700},
            "config": {"gateways": {"selector": "app=gateway", "metrics_port": 9999}},
            "podDisruptionBudget": {"maxUnavailable": "50%"},
            "priorityClassName": "system-cluster-critical",
            "podLabels": {"a": "b"},
            "podAnnotations": {"c": "d"},
            "env": [{"name": "TZ", "value": "UTC"}],
            "extraVolumes": [{"name": "token", "secret": {"secretName": "prometheus"}}],
            "extraVolumeMounts": [{"name": "token", "mountPath": "/token"}],
        },
        "discovery": {"kubernetes": {"namespace": "*"}},
        "monitoring": {"podMonitor": {"enabled": True}},
        "networkPolicy": {
            "enabled": True,
            "egress": True,
            "monitoring": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
        },
    },
    "an operator with rights of somebody else's": {
        "controller": {
            "enabled": True,
            "serviceAccount": {"create": False, "name": "given"},
            "podDisruptionBudget": {"enabled": False},
            "topologySpreadConstraints": [],
        },
        "rbac": {"create": False},
        "nameOverride": "gw",
    },
    "other names": {"nameOverride": "gw", "fullnameOverride": "the-gateway-of-this-team"},
}
