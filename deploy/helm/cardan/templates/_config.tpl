{{/*
The gateway's configuration: `config` of the values, and what follows from the others. Fields that a
restart alone can change (FIXED in cardan_router/config.py, a test compares) make up the checksum that
rolls the gateways; all others are read again when the mounted file changes.
*/}}

{{- define "cardan.config.fixed" -}}
listen grpc grpc_limits http admin workers fleet ui seed
{{- end -}}

{{- define "cardan.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config "listen" "0.0.0.0:8080" -}}
{{- $_ := set $config "grpc" "0.0.0.0:9000" -}}
{{- $_ := set $config "admin" "0.0.0.0:9090" -}}
{{- $discovery := dict -}}
{{- with .Values.discovery.kubernetes -}}
{{- if ne .kind "none" -}}
{{- $kubernetes := dict "kind" .kind "namespace" .namespace -}}
{{- if eq .kind "pods" -}}
{{- $_ := set $kubernetes "selector" .selector -}}
{{- $_ := set $kubernetes "ports" .ports -}}
{{- else -}}
{{- $_ := set $kubernetes "name" .name -}}
{{- if eq .kind "service" -}}{{- $_ := set $kubernetes "ports" .ports -}}{{- end -}}
{{- end -}}
{{- if not .overlays -}}{{- $_ := set $kubernetes "overlays" false -}}{{- end -}}
{{- $_ := set $discovery "kubernetes" $kubernetes -}}
{{- end -}}
{{- end -}}
{{- if .Values.discovery.file.configMap -}}
{{- $_ := set $discovery "file" (printf "/etc/cardan/discovery/%s" .Values.discovery.file.key) -}}
{{- end -}}
{{- if not (or $discovery $config.endpoints) -}}
{{- fail "\n\nThe gateway needs engines: set discovery.kubernetes.kind to pods, service or inference_pool, or discovery.file.configMap, or config.endpoints." -}}
{{- end -}}
{{- if $discovery -}}{{- $_ := set $config "discovery" $discovery -}}{{- end -}}
{{- if include "cardan.apiKeys.secret" . -}}
{{- $_ := set $config "api_keys" (printf "/etc/cardan/api-keys/%s" (include "cardan.apiKeys.key" .)) -}}
{{- end -}}
{{- if include "cardan.engineKey.secret" . -}}
{{- $upstream := deepCopy (default dict $config.upstream) -}}
{{- $_ := set $upstream "api_key_file" (printf "/etc/cardan/engine-key/%s" (include "cardan.engineKey.key" .)) -}}
{{- $_ := set $config "upstream" $upstream -}}
{{- end -}}
{{- if .Values.router.tls.existingSecret -}}
{{- $_ := set $config "tls" (dict "cert" "/etc/cardan/tls/tls.crt" "key" "/etc/cardan/tls/tls.key") -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/*
Turning TLS on or off is a restart's too. Where the gateways never look whether something has changed,
everything is: the rest of the configuration, and the keys.
*/}}
{{- define "cardan.config.checksum" -}}
{{- $config := include "cardan.config" . | fromYaml -}}
{{- $fixed := pick $config "tls" -}}
{{- range splitList " " (include "cardan.config.fixed" .) -}}
{{- if hasKey $config . -}}{{- $_ := set $fixed . (get $config .) -}}{{- end -}}
{{- end -}}
{{- if not (dig "reload" "poll_s" 0 $config) -}}
{{- $fixed = dict "config" $config "keys" .Values.router.apiKeys "engineKey" .Values.router.engineKey -}}
{{- end -}}
{{- $fixed | toJson | sha256sum -}}
{{- end -}}

{{/* Secrets: yours, or one that the chart makes; empty where there is none. */}}
{{- define "cardan.apiKeys.secret" -}}
{{- with .Values.router.apiKeys -}}
{{- if and .existingSecret .hashed -}}{{- fail "\n\nrouter.apiKeys: give existingSecret or hashed, not both." -}}{{- end -}}
{{- if .existingSecret -}}{{ .existingSecret }}{{- else if .hashed -}}{{ include "cardan.router.name" $ }}-api-keys{{- end -}}
{{- end -}}
{{- end -}}
{{- define "cardan.apiKeys.key" -}}
{{- if .Values.router.apiKeys.existingSecret -}}{{ .Values.router.apiKeys.key }}{{- else -}}keys{{- end -}}
{{- end -}}

{{- define "cardan.engineKey.secret" -}}
{{- with .Values.router.engineKey -}}
{{- if and .existingSecret .value -}}{{- fail "\n\nrouter.engineKey: give existingSecret or value, not both." -}}{{- end -}}
{{- if .existingSecret -}}{{ .existingSecret }}{{- else if .value -}}{{ include "cardan.router.name" $ }}-engine-key{{- end -}}
{{- end -}}
{{- end -}}
{{- define "cardan.engineKey.key" -}}
{{- if .Values.router.engineKey.existingSecret -}}{{ .Values.router.engineKey.key }}{{- else -}}api-key{{- end -}}
{{- end -}}

{{/* Does the gateway talk to the API server? Empty: no. */}}
{{- define "cardan.watches" -}}
{{- if ne .Values.discovery.kubernetes.kind "none" -}}yes{{- end -}}
{{- end -}}
