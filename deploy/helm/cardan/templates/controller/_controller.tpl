{{/* The operator: its names, where it looks, and its configuration. */}}

{{- define "cardan.controller.name" -}}{{ include "cardan.fullname" . }}-controller{{- end -}}

{{- define "cardan.controller.serviceAccountName" -}}
{{- with .Values.controller.serviceAccount -}}
{{- if .create -}}
{{- default (include "cardan.controller.name" $) .name -}}
{{- else -}}
{{- if and (not .name) $.Values.rbac.create -}}
{{- fail "\n\ncontroller.serviceAccount.create is false: name the account in controller.serviceAccount.name. Else every pod of the namespace that names none would have the operator's rights." -}}
{{- end -}}
{{- default "default" .name -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Does it look after fleets of all namespaces? Empty: no. */}}
{{- define "cardan.controller.everywhere" -}}
{{- if has "*" .Values.controller.namespaces -}}
{{- if gt (len .Values.controller.namespaces) 1 -}}
{{- fail "\n\ncontroller.namespaces: * is all of them; name no other beside it." -}}
{{- end -}}
yes
{{- end -}}
{{- end -}}

{{/* The namespaces that it looks after, where those are named. */}}
{{- define "cardan.controller.namespaces" -}}
{{- default (list .Release.Namespace) .Values.controller.namespaces | uniq | toJson -}}
{{- end -}}

{{/*
Where gateways tell that somebody waits for a fleet at zero: a Service, since any replica answers and
sends on to the one that leads.
*/}}
{{- define "cardan.controller.wakeUrl" -}}
http://{{ include "cardan.controller.name" . }}.{{ .Release.Namespace }}.svc:{{ .Values.controller.service.port }}
{{- end -}}

{{/*
One name of the lease in a namespace, whatever the release is called: of two releases whose operators
look after the same fleets one leads.
*/}}
{{- define "cardan.controller.lease" -}}
cardan-controller
{{- end -}}

{{/*
The operator's configuration: `controller.config`, and what follows from other values. It is read
once, at the start: a change rolls the pods.
*/}}
{{- define "cardan.controller.config" -}}
{{- $config := deepCopy .Values.controller.config -}}
{{- $_ := set $config "listen" "0.0.0.0:8080" -}}
{{- if .Values.controller.keda.enabled -}}{{- $_ := set $config "keda" "0.0.0.0:9600" -}}{{- end -}}
{{- if not (include "cardan.controller.everywhere" .) -}}
{{- $_ := set $config "namespaces" (include "cardan.controller.namespaces" . | fromJsonArray) -}}
{{- end -}}
{{- $_ := set $config "wake_url" (include "cardan.controller.wakeUrl" .) -}}
{{- $lease := dict "name" (include "cardan.controller.lease" .) "namespace" .Release.Namespace -}}
{{- $_ := set $config "lease" (merge $lease (default dict $config.lease)) -}}
{{- $selector := printf "app.kubernetes.io/name=%s,app.kubernetes.io/component=router" (default .Chart.Name .Values.nameOverride) -}}
{{- $names := ternary "namespace/pod" "pod" (eq .Values.discovery.kubernetes.namespace "*") -}}
{{- $_ := set $config "gateways" (merge (default dict $config.gateways) (dict "selector" $selector "endpoint_names" $names)) -}}
{{- toYaml $config -}}
{{- end -}}
