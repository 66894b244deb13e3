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
{{- $name := default .root.Chart.Name .root.Values.nameOverride -}}
{{- toYaml (dict "app.kubernetes.io/name" $name "app.kubernetes.io/instance" .root.Release.Name "app.kubernetes.io/component" .component) -}}
{{- end -}}

{{/*
Labels of an object: `more`, if there is any, wins over what all objects have. As mappings that are
joined, so that no key stands twice and a word that looks like a number stays a word.
*/}}
{{- define "cardan.labels" -}}
{{- $chart := printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" -}}
{{- $own := dict "helm.sh/chart" $chart "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- merge (dict) (default dict .more) $own (include "cardan.selector" . | fromYaml) .root.Values.commonLabels | toYaml -}}
{{- end -}}

{{/* A pod's labels have no version in them: a new chart alone rolls nothing. */}}
{{- define "cardan.podLabels" -}}
{{- merge (dict) (default dict .more) (include "cardan.selector" . | fromYaml) .root.Values.commonLabels | toYaml -}}
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

{{/*
The number of a Deployment's pods where others set it: "" if Helm is to say none, so that the revision
can be gone back to without it. Helm must say the number that there is while leaving it out would take
it away, and Kubernetes would go to one pod until they look: where Helm applies, as long as the field
is its own; where it patches (Helm 3), as long as the manifest before had a number. Of that manifest
the annotation `cardan.dev/replicas` is left: it stands where there was none.
*/}}
{{- define "cardan.replicas.kept" -}}
{{- with lookup "apps/v1" "Deployment" .root.Release.Namespace .name -}}
{{- $without := hasKey (default dict .metadata.annotations) "cardan.dev/replicas" -}}
{{- range .metadata.managedFields -}}
{{- $fields := dig "f:spec" dict (default dict .fieldsV1) -}}
{{- if and (eq .operation "Apply") (hasKey $fields "f:template") (not (hasKey $fields "f:replicas")) -}}
{{- $without = true -}}
{{- end -}}
{{- end -}}
{{- if not $without -}}{{- int .spec.replicas -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Who has brought a definition that is there already, or a role that goes with it: another release, or
somebody without one. It asks the cluster: not where `crds.install` is false, for who sets that may
not ask.
*/}}
{{- define "cardan.crdOwner" -}}
{{- $name := printf "%s.cardan.dev" (base .path | trimSuffix ".yaml") -}}
{{- include "cardan.owner" (dict "root" .root "there" (lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" $name)) -}}
{{- end -}}
{{- define "cardan.owner" -}}
{{- with .there -}}
{{- $notes := default dict .metadata.annotations -}}
{{- $release := printf "%s/%s" (default "-" (get $notes "meta.helm.sh/release-namespace")) (default "-" (get $notes "meta.helm.sh/release-name")) -}}
{{- if ne $release (printf "%s/%s" $.root.Release.Namespace $.root.Release.Name) -}}{{- $release -}}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cardan.serviceAccountName" -}}
{{- with .Values.rbac.serviceAccount -}}
{{- if .create -}}
{{- default (include "cardan.router.name" $) .name -}}
{{- else -}}
{{- if and (not .name) $.Values.rbac.create (include "cardan.watches" $) -}}
{{- fail "\n\nrbac.serviceAccount.create is false: name the account in rbac.serviceAccount.name. Else every pod of the namespace that names none would have the gateway's rights." -}}
{{- end -}}
{{- default "default" .name -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What every pod of ours is content with: the restricted Pod Security standard and a bit more. */}}
{{- define "cardan.podSecurity" -}}
{{- $security := dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- range $field, $id := .Values.podSecurity -}}
{{- if not (kindIs "invalid" $id) -}}{{- $_ := set $security $field (int64 $id) -}}{{- end -}}
{{- end -}}
{{- toYaml $security -}}
{{- end -}}

{{- define "cardan.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
