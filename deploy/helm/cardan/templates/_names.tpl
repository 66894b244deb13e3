{{/* Names and labels. Everything of one release is called after it: the Service is the name itself. */}}

{{- define "cardan.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cardan.router.name" -}}{{ include "cardan.fullname" . }}-router{{- end -}}
{{- define "cardan.engine.name" -}}{{ include "cardan.fullname" . }}-engine{{- end -}}

{{/* A pod of a component is known by these; they never change during a release's life. */}}
{{- define "cardan.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "cardan.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{ include "cardan.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A pod's labels have no version in them: a new chart alone rolls nothing. */}}
{{- define "cardan.podLabels" -}}
{{ include "cardan.selector" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The image of a component: registry/repository, then the digest, or a tag. */}}
{{- define "cardan.image" -}}
{{- $image := .image -}}
{{- $name := $image.repository -}}
{{- with .root.Values.image.registry -}}{{- $name = printf "%s/%s" (trimSuffix "/" .) $name -}}{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default (default .root.Chart.AppVersion .root.Values.image.tag) $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "cardan.serviceAccountName" -}}
{{- with .Values.rbac.serviceAccount -}}
{{- if .create -}}{{ default (include "cardan.router.name" $) .name }}{{- else -}}{{ default "default" .name }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* What every pod of ours is content with: the restricted Pod Security standard and a bit more. */}}
{{- define "cardan.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "cardan.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
