{{- define "dmarc-shipper.collectorImage" -}}
{{- $known := dict "vector" "docker.io/timberio/vector:0.58.0-distroless-static" "fluent-bit" "docker.io/fluent/fluent-bit:5.1.0" }}
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

{{- define "dmarc-shipper.collectorConfig" -}}
{{- if eq .Values.collector.type "vector" }}
{{- $stdout := dict "stdout" (dict "type" "console" "inputs" (list "dmarc") "encoding" (dict "codec" "json")) -}}
data_dir: /var/lib/collector
# What the events can't be sent to holds the shipper up, and the mails stay where they are.
acknowledgements: {enabled: true}
sources:
  shipper:
    type: syslog
    mode: tcp
    address: 127.0.0.1:{{ .Values.collector.port }}
transforms:
  # Each message is an event in JSON. What the frame tells besides is in it too; `source_ip` of the source is the peer's.
  dmarc:
    type: remap
    inputs: [shipper]
    source: |
      event = object!(parse_json!(.message))
      event.timestamp = .timestamp
      . = event
sinks:
  {{- toYaml (default $stdout .Values.collector.outputs) | nindent 2 }}
{{- else }}
{{- $stdout := list (dict "name" "stdout" "match" "dmarc" "format" "json_lines") -}}
service:
  flush: 1
  log_level: info
  parsers_file: /etc/collector/parsers.conf
  storage.path: /var/lib/collector
  # What is in its buffer when the pod ends is sent first, for this many seconds.
  grace: 20
pipeline:
  inputs:
    - name: syslog
      tag: dmarc
      mode: tcp
      listen: 127.0.0.1
      port: {{ .Values.collector.port }}
      parser: dmarc-rfc5424
      buffer_chunk_size: 64k
      buffer_max_size: 64k
      storage.type: filesystem
  filters:
    # Each message is an event in JSON.
    - name: parser
      match: dmarc
      key_name: message
      parser: dmarc-json
  outputs:
    {{- toYaml (default $stdout .Values.collector.outputs) | nindent 4 }}
{{- end }}
{{- end }}

{{- define "dmarc-shipper.collectorParsers" -}}
[PARSER]
    Name        dmarc-rfc5424
    Format      regex
    Regex       ^<(?<pri>[0-9]{1,3})>1 (?<time>[^ ]+) (?<host>[^ ]+) (?<ident>[^ ]+) (?<pid>[-0-9]+) (?<msgid>[^ ]+) - (?<message>.+)$
    Time_Key    time
    Time_Format %Y-%m-%dT%H:%M:%S.%L%z
    Time_Keep   Off

[PARSER]
    Name        dmarc-json
    Format      json
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
  args: {{ if eq .Values.collector.type "vector" }}["--config", "/etc/collector/vector.yaml"]{{ else }}["-c", "/etc/collector/fluent-bit.yaml"]{{ end }}
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
    - name: collector-data
      mountPath: /var/lib/collector
    {{- with .Values.collector.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
