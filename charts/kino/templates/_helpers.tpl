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

{{/* Where artifacts lie: the bucket that is named, or that of the release's own MinIO. */}}
{{- define "kino.store" -}}
{{- if .Values.minio.enabled }}s3://kino/artifacts?endpoint=http://{{ include "kino.fullname" . }}-minio:9000{{ else }}{{ .Values.store }}{{ end }}
{{- end }}

{{/* Where models lie: a volume, a bucket, or, empty, the image. */}}
{{- define "kino.models" -}}
{{- if or .Values.modelsVolume.claim .Values.modelsVolume.image }}/models{{ else }}{{ .Values.models }}{{ end }}
{{- end }}

{{/* How the graph runs: as a process of its own (none), on a Ray of its own (head), or as a RayService (service). */}}
{{- define "kino.ray" -}}
{{- if eq .Values.graph.ray "auto" }}{{ ternary "service" "head" (.Capabilities.APIVersions.Has "ray.io/v1/RayService") }}{{ else }}{{ .Values.graph.ray }}{{ end }}
{{- end }}

{{/* The variable with the URL of the graph's ledger. */}}
{{- define "kino.ledger" -}}
{{ if .Values.postgresql.enabled -}}
- name: KINO_DATABASE_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .Values.postgresql.secret }}, key: password}}
- {name: KINO_LEDGER, value: "postgresql://kino:$(KINO_DATABASE_PASSWORD)@{{ include "kino.fullname" . }}-postgresql:5432/kino"}
{{- else if .Values.ledger.secret -}}
- name: KINO_LEDGER
  valueFrom: {secretKeyRef: {name: {{ .Values.ledger.secret }}, key: url}}
{{- else -}}
- {name: KINO_LEDGER, value: "sqlite:////var/lib/kino/ledger.sqlite"}
{{- end }}
{{- end }}

{{/* The volume that a StatefulSet of a trial asks for. */}}
{{- define "kino.claim" -}}
- metadata: {name: data}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources: {requests: {storage: {{ .size }}}}
{{- end }}

{{/* Refuse what no schema can: an API that the cluster lacks, settings that do not fit each other. */}}
{{- define "kino.check" -}}
{{- $graph := include "kino.service" (dict "root" . "service" "graph") | fromYaml -}}
{{- if $graph }}
{{- $ledgers := list -}}
{{- if .Values.ledger.secret }}{{ $ledgers = append $ledgers "ledger.secret" }}{{ end -}}
{{- if .Values.ledger.volume.enabled }}{{ $ledgers = append $ledgers "ledger.volume" }}{{ end -}}
{{- if .Values.postgresql.enabled }}{{ $ledgers = append $ledgers "postgresql" }}{{ end -}}
{{- if ne (len $ledgers) 1 }}
{{- fail (printf "the ledger is %s, must be one of ledger.secret (PostgreSQL) or, for a trial, ledger.volume and postgresql" (join " and " $ledgers | default "nowhere")) }}
{{- end }}
{{- if eq (include "kino.ray" .) "service" }}
{{- if not (.Capabilities.APIVersions.Has "ray.io/v1/RayService") }}
{{- fail "graph.ray is service, must be head, auto or none: this cluster has no ray.io/v1" }}
{{- end }}
{{- if .Values.ledger.volume.enabled }}
{{- fail "ledger.volume is enabled, must be ledger.secret or postgresql with graph.ray service: a SQLite file has one machine" }}
{{- end }}
{{- else if and (eq (include "kino.ray" .) "head") (or (gt (int $graph.replicas) 1) (ne $graph.autoscaling.mode "none")) }}
{{- fail "services.graph has several replicas, must have one with graph.ray head: Ray grows within it" }}
{{- end }}
{{- if and .Values.ledger.volume.enabled (or (gt (int $graph.replicas) 1) (ne $graph.autoscaling.mode "none")) }}
{{- fail "services.graph has several replicas, must have one with ledger.volume: a SQLite file has one owner" }}
{{- end }}
{{- end }}
{{- if and .Values.entrance.ingress.host (not .Values.entrance.ingress.tlsSecret) }}
{{- fail "entrance.ingress.tlsSecret is empty, must name a secret with entrance.ingress.host: ingresses speak HTTP/2 over TLS alone" }}
{{- end }}
{{- if and .Values.entrance.route.gateway (not (.Capabilities.APIVersions.Has "gateway.networking.k8s.io/v1/GRPCRoute")) }}
{{- fail "entrance.route.gateway is given, must be empty: this cluster has no gateway.networking.k8s.io/v1 GRPCRoute" }}
{{- end }}
{{- if and .Values.minio.enabled .Values.store }}
{{- fail "store is given with minio.enabled, must be one of them" }}
{{- end }}
{{- if not (or .Values.minio.enabled .Values.store) }}
{{- fail "store is empty, must be s3://bucket or, for a trial, minio.enabled" }}
{{- end }}
{{- if and .Values.postgresql.enabled (not .Values.postgresql.secret) }}
{{- fail "postgresql.secret is empty, must name a secret with the key password" }}
{{- end }}
{{- if gt (len (compact (list .Values.models .Values.modelsVolume.claim .Values.modelsVolume.image))) 1 }}
{{- fail "models are in several places, must be in one of models, modelsVolume.claim and modelsVolume.image" }}
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
