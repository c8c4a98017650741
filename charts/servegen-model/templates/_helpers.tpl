{{/* Name of the model, as a label value. */}}
{{- define "servegen-model.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name of every object: the release, with the model's name when the release does not contain it. */}}
{{- define "servegen-model.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- $full = default $full .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- if not (regexMatch "^[a-z]" $full) }}
{{- fail (printf "a Service cannot be named %q: choose a release or fullnameOverride that begins with a letter" $full) }}
{{- end }}
{{- $full }}
{{- end }}

{{- define "servegen-model.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Labels of every object. Ours win over commonLabels. */}}
{{- define "servegen-model.labels" -}}
{{- $ours := dict
  "helm.sh/chart" (include "servegen-model.chart" .)
  "app.kubernetes.io/component" "inference"
  "app.kubernetes.io/managed-by" .Release.Service
  "app.kubernetes.io/part-of" (default (include "servegen-model.name" .) .Values.partOf)
  "app.kubernetes.io/version" (default .Chart.AppVersion .Values.model.version)
  "servegen.dev/instance" (include "servegen-model.fullname" .)
  "servegen.dev/track" "stable"
}}
{{- toYaml (merge $ours (fromYaml (include "servegen-model.selectorLabels" .)) .Values.commonLabels) }}
{{- end }}

{{/* Labels of the pods: without the chart's version, which would roll them on every chart release. */}}
{{- define "servegen-model.podLabels" -}}
{{- $ours := omit (fromYaml (include "servegen-model.labels" .)) "helm.sh/chart" }}
{{- toYaml (merge $ours .Values.podLabels) }}
{{- end }}

{{/* Immutable on a Deployment: nothing that changes may be added here. */}}
{{- define "servegen-model.selectorLabels" -}}
app.kubernetes.io/instance: {{ include "servegen-model.fullname" . | quote }}
app.kubernetes.io/name: {{ include "servegen-model.name" . | quote }}
{{- end }}

{{- define "servegen-model.annotations" -}}
{{- toYaml (merge (dict "servegen.dev/model-name" .Values.model.name) .Values.commonAnnotations) }}
{{- end }}

{{/* Where the model and the numbers come from; on the Deployment only. */}}
{{- define "servegen-model.facts" -}}
{{- $facts := dict }}
{{- range $key, $value := dict
  "image-tag" .Values.image.tag
  "model-digest" .Values.model.digest
  "model-uri" .Values.model.uri
  "pin" .Values.model.pin
  "profile" .Values.profile
  "run-id" .Values.model.runId
  "version" .Values.servegenVersion
}}
{{- if $value }}
{{- $_ := set $facts (printf "servegen.dev/%s" $key) $value }}
{{- end }}
{{- end }}
{{- toYaml (merge $facts (fromYaml (include "servegen-model.annotations" .))) }}
{{- end }}

{{- define "servegen-model.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "servegen-model.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The digest wins over the tag; global.imageRegistry replaces the registry. */}}
{{- define "servegen-model.image" -}}
{{- $repository := .Values.image.repository }}
{{- with (.Values.global).imageRegistry }}
{{- $path := regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "" }}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $path }}
{{- end }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (required "image.digest or image.tag is needed" .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* Time until the kill; it has to hold the pause before the stop signal and the drain after it. */}}
{{- define "servegen-model.gracePeriod" -}}
{{- $grace := .Values.terminationGracePeriodSeconds | int }}
{{- $needed := .Values.preStopSeconds | int }}
{{- range concat .Values.env .Values.extraEnv }}
{{- if has .name (list "SERVEGEN_DRAIN_DELAY" "SERVEGEN_DRAIN_TIMEOUT") }}
{{- $needed = add $needed (default 0 .value | int) }}
{{- end }}
{{- end }}
{{- if le $grace ($needed | int) }}
{{- fail (printf "terminationGracePeriodSeconds is %d, but preStopSeconds and the drain take %d" $grace $needed) }}
{{- end }}
{{- $grace }}
{{- end }}

{{/* Pull secrets of the chart and of the parent chart, without repetition. */}}
{{- define "servegen-model.imagePullSecrets" -}}
{{- $names := list }}
{{- range concat .Values.imagePullSecrets (default (list) (.Values.global).imagePullSecrets) }}
{{- if kindIs "map" . }}
{{- $names = append $names .name }}
{{- else }}
{{- $names = append $names . }}
{{- end }}
{{- end }}
{{- range uniq $names }}
- name: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Constraints get the pods' selector unless they bring one. */}}
{{- define "servegen-model.topologySpreadConstraints" -}}
{{- $selector := dict "matchLabels" (fromYaml (include "servegen-model.selectorLabels" .)) }}
{{- $all := list }}
{{- range .Values.topologySpreadConstraints }}
{{- $all = append $all (merge (deepCopy .) (dict "labelSelector" $selector)) }}
{{- end }}
{{- toYaml $all }}
{{- end }}

{{/* Changes with the files of configMap, so that pods roll; servegen makes the same of the same files. */}}
{{- define "servegen-model.configChecksum" -}}
{{- $lines := list }}
{{- range $name, $text := .Values.configMap.data }}
{{- $lines = append $lines (printf "%s=%s" $name (sha256sum $text)) }}
{{- end }}
{{- join "\n" $lines | sha256sum }}
{{- end }}
