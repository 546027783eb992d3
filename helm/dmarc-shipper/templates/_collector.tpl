{{- define "dmarc-shipper.collectorImage" -}}
{{- $known := dict "vector" "docker.io/timberio/vector:0.58.0-distroless-static" "fluent-bit" "docker.io/fluent/fluent-bit:5.1.1" }}
{{- with .Values.collector.image -}}
{{- if .repository -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ required "collector.image.tag or digest goes with collector.image.repository" .tag }}{{ end }}
{{- else -}}
{{ get $known $.Values.collector.type }}
{{- end }}
{{- end }}
{{- end }}

{{- define "dmarc-shipper.collectorFile" -}}
{{ .Values.collector.type }}.yaml
{{- end }}

{{- /* The sink that ships to the collector: one that it acknowledges. */}}
{{- define "dmarc-shipper.collectorSink" -}}
{{- if eq .Values.collector.type "vector" -}}
type: http
uri: http://127.0.0.1:{{ .Values.collector.port }}/
# A 400 may come from an output behind Vector, for whatever reason it refuses all events: none is given up for it.
on_rejected: retry
{{- else -}}
type: forward
mode: tcp
endpoints: ["127.0.0.1:{{ .Values.collector.port }}"]
{{- end }}
{{- end }}

{{- /* Seconds that the collector has to send what it holds, once the pod is told to end. */}}
{{- define "dmarc-shipper.collectorGrace" -}}
{{ max 1 (sub (int .Values.terminationGracePeriodSeconds) 5) }}
{{- end }}

{{- define "dmarc-shipper.collectorConfig" -}}
{{- if eq .Values.collector.type "vector" }}
{{- $stdout := dict "stdout" (dict "type" "console" "inputs" (list "dmarc") "encoding" (dict "codec" "json")) -}}
# Seen with Vector 0.58.0.
data_dir: /var/lib/collector
# A request is answered when all sinks have delivered its events. While one can't, the shipper waits and repeats what was not
# answered, and the mails stay where they are; so whatever is killed, nothing is lost.
acknowledgements: {enabled: true}
{{- if .Values.collector.existingSecret }}
secret:
  files: {type: directory, path: /run/secrets/collector, remove_trailing_whitespace: true}
{{- end }}
sources:
  shipper:
    type: http_server
    address: 127.0.0.1:{{ .Values.collector.port }}
    framing: {method: newline_delimited}
    decoding: {codec: bytes}
transforms:
  # A line is an event in JSON. What the source adds to it is left out.
  dmarc:
    type: remap
    inputs: [shipper]
    source: |
      event = object!(parse_json!(.message))
      event.timestamp = parse_timestamp!(event.ingest_timestamp, "%+")
      . = event
sinks:
  {{- toYaml (default $stdout .Values.collector.outputs) | nindent 2 }}
{{- else }}
{{- $stdout := list (dict "name" "stdout" "match" "dmarc.*" "format" "json_lines") -}}
# Seen with Fluent Bit 5.1.1.
service:
  flush: 1
  log_level: info
  # A chunk is acknowledged when it is on this volume, and is sent from there, also after a restart.
  storage.path: /var/lib/collector
  # While outputs can't send, this many chunks of 2 MB are taken. Then the shipper waits, and the mails stay where they are.
  storage.max_chunks_up: 16
  grace: {{ include "dmarc-shipper.collectorGrace" . }}
pipeline:
  inputs:
    - name: forward
      listen: 127.0.0.1
      port: {{ .Values.collector.port }}
      storage.type: filesystem
      storage.pause_on_chunks_overlimit: on
  outputs:
    # Without `retry_limit: no_limits`, Fluent Bit drops what it could not send twice.
    {{- range default $stdout .Values.collector.outputs }}
    {{- list (merge (deepCopy .) (dict "retry_limit" "no_limits")) | toYaml | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}

{{- define "dmarc-shipper.collectorContainer" -}}
- name: {{ .Values.collector.type }}
  image: {{ include "dmarc-shipper.collectorImage" . | quote }}
  imagePullPolicy: {{ .Values.collector.image.pullPolicy }}
  {{- if eq .Values.mode "cronjob" }}
  # A native sidecar: there before the run, told to end once the run has, and not waited for by the Job.
  restartPolicy: Always
  {{- end }}
  {{- if eq .Values.collector.type "fluent-bit" }}
  command: ["/fluent-bit/bin/fluent-bit"]
  {{- end }}
  args: {{ if eq .Values.collector.type "vector" }}["--config", "/etc/collector/vector.yaml", "--graceful-shutdown-limit-secs", {{ include "dmarc-shipper.collectorGrace" . | quote }}]{{ else }}["-c", "/etc/collector/fluent-bit.yaml"]{{ end }}
  {{- with .Values.collector.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.collector.envFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  resources:
    {{- toYaml .Values.collector.resources | nindent 4 }}
  volumeMounts:
    - name: collector-config
      mountPath: /etc/collector
      readOnly: true
    - name: data
      mountPath: /var/lib/collector
      subPath: collector
    {{- if .Values.collector.existingSecret }}
    - name: collector-secrets
      mountPath: /run/secrets/collector
      readOnly: true
    {{- end }}
    {{- with .Values.collector.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
