{{- define "dmarc-shipper.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "dmarc-shipper.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := include "dmarc-shipper.name" . }}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "dmarc-shipper.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dmarc-shipper.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dmarc-shipper.labels" -}}
{{ include "dmarc-shipper.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "dmarc-shipper.metadata" -}}
name: {{ include "dmarc-shipper.fullname" . }}
labels:
  {{- include "dmarc-shipper.labels" . | nindent 2 }}
{{- end }}

{{- /* The same of an object that goes with it: a list of the chart's values and what its name ends in. */}}
{{- define "dmarc-shipper.metadataOf" -}}
{{- with index . 0 -}}
name: {{ include "dmarc-shipper.fullname" . }}-{{ index $ 1 }}
labels:
  {{- include "dmarc-shipper.labels" . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "dmarc-shipper.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "dmarc-shipper.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "dmarc-shipper.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "dmarc-shipper.hasCollector" -}}
{{- if or (eq .Values.mode "sidecar") (and (eq .Values.mode "cronjob") .Values.collector.enabled) }}yes{{ end }}
{{- end }}

{{- define "dmarc-shipper.hasSecret" -}}
{{- if or .Values.existingSecret .Values.secrets }}yes{{ end }}
{{- end }}

{{- /* The configuration: what the pod needs, what the user wrote over it. */}}
{{- define "dmarc-shipper.config" -}}
{{- $config := dict "data_dir" "/var/lib/dmarc-shipper" }}
{{- if ne .Values.mode "cronjob" }}
{{- $_ := set $config "api" (dict "address" (printf "0.0.0.0:%v" .Values.api.port)) }}
{{- end }}
{{- $config = mergeOverwrite $config (deepCopy .Values.config) }}
{{- $sinks := default dict (get $config "sinks") }}
{{- if include "dmarc-shipper.hasCollector" . }}
{{- $collector := include "dmarc-shipper.collectorSink" . | fromYaml }}
{{- $own := default dict (get $sinks "collector") }}
{{- /* Options of one type are none of another: a collector of the user's may take another transport. */}}
{{- if eq (default $collector.type $own.type) $collector.type }}
{{- $own = mergeOverwrite $collector $own }}
{{- end }}
{{- $_ := set $sinks "collector" $own }}
{{- end }}
{{- if eq .Values.mode "cronjob" }}
{{- range $name, $sink := $sinks }}
{{- if and (eq (toString (get $sink "type")) "syslog") (ne (toString (get $sink "mode")) "udp") (not (hasKey $sink "acknowledgements")) }}
{{- $_ := set $sink "acknowledgements" "strict" }}
{{- end }}
{{- end }}
{{- end }}
{{- $_ := set $config "sinks" $sinks }}
{{- toYaml $config }}
{{- end }}
