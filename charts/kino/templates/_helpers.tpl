{{/* The name that everything of a release begins with. */}}
{{- define "kino.fullname" -}}
{{- if contains "kino" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-kino" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* What selects the pods of a service; of the whole release where no service is named. */}}
{{- define "kino.selector" -}}
app.kubernetes.io/name: kino
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .service }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "kino.labels" -}}
{{ include "kino.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "kino.image" -}}
{{ .root.Values.image.repository }}-{{ .service }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/*
The settings of a service as YAML: what its entry says replaces the default, within gpu and autoscaling key by key.
Empty where it is switched off.
*/}}
{{- define "kino.service" -}}
{{- $merged := deepCopy .root.Values.defaults -}}
{{- range $key, $value := index .root.Values.services .service -}}
{{- if has $key (list "gpu" "autoscaling") -}}
{{- $inner := index $merged $key -}}
{{- range $name, $own := $value -}}{{- $_ := set $inner $name $own -}}{{- end -}}
{{- else -}}
{{- $_ := set $merged $key $value -}}
{{- end -}}
{{- end -}}
{{- if $merged.enabled }}{{ toYaml $merged }}{{ end }}
{{- end }}

{{/* What a container of the restricted profile may. */}}
{{- define "kino.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "kino.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Refuse what no schema can: an API that the cluster lacks, settings that do not fit each other. */}}
{{- define "kino.check" -}}
{{- $graph := include "kino.service" (dict "root" . "service" "graph") | fromYaml -}}
{{- if $graph }}
{{- if and .Values.ledger.secret .Values.ledger.volume.enabled }}
{{- fail "ledger has a secret and a volume, must be one of them" }}
{{- end }}
{{- if not (or .Values.ledger.secret .Values.ledger.volume.enabled) }}
{{- fail "ledger is empty, must be ledger.secret (PostgreSQL) or, for a trial, ledger.volume.enabled" }}
{{- end }}
{{- if and .Values.ledger.volume.enabled (or (gt (int $graph.replicas) 1) (ne $graph.autoscaling.mode "none")) }}
{{- fail "services.graph has several replicas, must have one with ledger.volume: a SQLite file has one owner" }}
{{- end }}
{{- end }}
{{- range $name, $_ := .Values.services }}
{{- $service := include "kino.service" (dict "root" $ "service" $name) | fromYaml }}
{{- if $service }}
{{- if and (eq $service.gpu.mode "dra") (not $service.gpu.claimTemplate) }}
{{- fail (printf "services.%s.gpu.claimTemplate is empty, must name a ResourceClaimTemplate with gpu.mode dra" $name) }}
{{- end }}
{{- if gt (int $service.autoscaling.minReplicas) (int $service.autoscaling.maxReplicas) }}
{{- fail (printf "services.%s.autoscaling.minReplicas is %d, must be at most maxReplicas, %d" $name (int $service.autoscaling.minReplicas) (int $service.autoscaling.maxReplicas)) }}
{{- end }}
{{- if eq $service.autoscaling.mode "keda" }}
{{- if not ($.Capabilities.APIVersions.Has "keda.sh/v1alpha1") }}
{{- fail (printf "services.%s.autoscaling.mode is keda, must be hpa or none: this cluster has no keda.sh/v1alpha1" $name) }}
{{- end }}
{{- if not $.Values.monitoring.prometheus }}
{{- fail (printf "monitoring.prometheus is empty, must be a URL with services.%s.autoscaling.mode keda" $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.monitoring.enabled (not (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) }}
{{- fail "monitoring.enabled is true, must be false: this cluster has no monitoring.coreos.com/v1" }}
{{- end }}
{{- end }}
