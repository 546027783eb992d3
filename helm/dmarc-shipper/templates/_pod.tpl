{{- /* The pod, the same for all modes. */}}
{{- define "dmarc-shipper.pod" -}}
{{- $collector := include "dmarc-shipper.hasCollector" . }}
{{- $once := eq .Values.mode "cronjob" }}
metadata:
  labels:
    {{- include "dmarc-shipper.selectorLabels" . | nindent 4 }}
    {{- range $labels := list .Values.commonLabels .Values.podLabels }}
    {{- with $labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
  annotations:
    {{- if not .Values.existingConfigMap }}
    checksum/config: {{ include "dmarc-shipper.config" . | sha256sum }}
    {{- end }}
    {{- if and .Values.secrets (not .Values.existingSecret) }}
    checksum/secrets: {{ toYaml .Values.secrets | sha256sum }}
    {{- end }}
    {{- if and $collector (not .Values.collector.existingConfigMap) }}
    checksum/collector: {{ include "dmarc-shipper.collectorConfig" . | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- if $once }}
  restartPolicy: Never
  {{- end }}
  serviceAccountName: {{ include "dmarc-shipper.serviceAccountName" . }}
  automountServiceAccountToken: {{ .Values.serviceAccount.automount }}
  # Variables that Kubernetes makes of Services' names might be taken for settings.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ int .Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" "runtimeClassName" "hostAliases" "dnsPolicy" "dnsConfig" }}
  {{- with get $.Values $key }}
  {{ $key }}: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- if or .Values.initContainers (and $once $collector) }}
  initContainers:
    {{- with .Values.initContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- if and $once $collector }}
    {{- include "dmarc-shipper.collectorContainer" . | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    - name: dmarc-shipper
      image: {{ include "dmarc-shipper.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: {{ concat (ternary (list "run" "--once") (list "run") $once) .Values.extraArgs | toJson }}
      env:
        - name: DMARC_SHIPPER_CONFIG
          value: /etc/dmarc-shipper/config.yaml
        {{- with .Values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      {{- if not $once }}
      ports:
        - name: http
          containerPort: {{ .Values.api.port }}
      {{- range $probe := list "startupProbe" "livenessProbe" "readinessProbe" }}
      {{- with get $.Values $probe }}
      {{ $probe }}:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
      {{- end }}
      volumeMounts:
        - name: config
          mountPath: /etc/dmarc-shipper
          readOnly: true
        - name: data
          mountPath: /var/lib/dmarc-shipper
        {{- if include "dmarc-shipper.hasSecret" . }}
        - name: secrets
          mountPath: /run/secrets/dmarc-shipper
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- if and $collector (not $once) }}
    {{- include "dmarc-shipper.collectorContainer" . | nindent 4 }}
    {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ default (printf "%s-config" (include "dmarc-shipper.fullname" .)) .Values.existingConfigMap }}
    - name: data
      {{- if .Values.persistence.enabled }}
      persistentVolumeClaim:
        claimName: {{ default (printf "%s-data" (include "dmarc-shipper.fullname" .)) .Values.persistence.existingClaim }}
      {{- else }}
      emptyDir: {}
      {{- end }}
    {{- if include "dmarc-shipper.hasSecret" . }}
    - name: secrets
      secret:
        secretName: {{ default (printf "%s-secrets" (include "dmarc-shipper.fullname" .)) .Values.existingSecret }}
        defaultMode: 0400
        # The default; podman 4 crashes where it is not said.
        optional: false
    {{- end }}
    {{- if $collector }}
    - name: collector-config
      configMap:
        name: {{ default (printf "%s-collector" (include "dmarc-shipper.fullname" .)) .Values.collector.existingConfigMap }}
    {{- with .Values.collector.existingSecret }}
    - name: collector-secrets
      secret:
        secretName: {{ . }}
        defaultMode: 0400
        optional: false
    {{- end }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
