#!/usr/bin/env bash
# Ten mails in a real IMAP mailbox → dmarc-shipper → a real syslog server over TLS, all on this machine and in a folder that is
# deleted at the end. Run it through `make demo`, or with the program to show:
#
#   DMARC_SHIPPER=path/to/dmarc-shipper examples/demo/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
shipper="$(realpath "${DMARC_SHIPPER:-target/release/dmarc-shipper}")"
[ -x "$shipper" ] || { echo "demo: $shipper is not there; run \`make demo\`, or set DMARC_SHIPPER" >&2; exit 1; }

here="$(mktemp -d)"
chmod 755 "$here"
servers=()
stop_servers() {
    for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" || true; done
    servers=()
}
finish() {
    stop_servers
    rm -rf "$here"
}
trap finish EXIT

imaps=29993 imap=29143 syslog=26514
for port in $imaps $imap $syslog; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo "demo: port $port is taken; end what listens there" >&2
        exit 1
    fi
done
bold() { printf '\n\033[1m%s\033[0m\n' "$*"; }
must_find() { PATH="$PATH:/usr/sbin" command -v "$1" || { echo "demo: $1 is missing: run tests/install-servers.sh" >&2; exit 1; }; }
dovecot="$(must_find dovecot)" rsyslogd="$(must_find rsyslogd)"
must_find openssl >/dev/null

answers() { # PORT NAME LOG
    for _ in $(seq 100); do
        kill -0 "${servers[-1]}" 2>/dev/null || break
        if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
        sleep 0.1
    done
    echo "demo: $2 does not answer on port $1:" >&2
    cat "$3" >&2
    exit 1
}

bold "1. An authority of our own, and a certificate for localhost"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj "/CN=demo authority" \
    -keyout "$here/ca.key" -out "$here/ca.pem" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=localhost" \
    -keyout "$here/server.key" -out "$here/server.csr" 2>/dev/null
openssl x509 -req -in "$here/server.csr" -CA "$here/ca.pem" -CAkey "$here/ca.key" -days 1 -out "$here/server.pem" \
    -extfile <(echo "subjectAltName=DNS:localhost") 2>/dev/null
openssl x509 -in "$here/server.pem" -noout -subject -issuer | sed 's/^/   /'

bold "2. A mailbox with the mails of examples/mailbox and a damaged one (Dovecot, IMAPS on port $imaps)"
if [ "$(id -u)" -eq 0 ]; then owner=nobody group=nogroup; else owner="$(id -un)" group="$(id -gn)"; fi
mailbox="$here/mail/dmarc@example.com"
mkdir -p "$mailbox"/{cur,new,tmp}
for mail in examples/mailbox/*.eml; do cp "$mail" "$mailbox/new/$(basename "$mail" .eml)"; done
cp examples/demo/unreadable.eml "$mailbox/new/10-unreadable"
[ "$(id -u)" -ne 0 ] || chown -R "$owner:$group" "$here/mail"
echo 'dmarc@example.com:{PLAIN}demo' >"$here/users"
cat >"$here/dovecot.conf" <<END
base_dir = $here/dovecot
state_dir = $here/dovecot
log_path = $here/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = <$here/server.pem
ssl_key = <$here/server.key
default_internal_user = $owner
default_internal_group = $group
default_login_user = $owner
first_valid_uid = 1
mail_uid = $owner
mail_gid = $group
mail_home = $here/mail/%u
mail_location = maildir:$here/mail/%u
passdb {
  driver = passwd-file
  args = username_format=%u $here/users
}
userdb {
  driver = static
}
namespace inbox {
  inbox = yes
  separator = /
}
service imap-login {
  chroot =
  inet_listener imap {
    port = $imap
  }
  inet_listener imaps {
    port = $imaps
  }
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
END
"$dovecot" -F -c "$here/dovecot.conf" &
servers+=($!)
answers $imaps Dovecot "$here/dovecot.log"
ls "$mailbox/new" | sed 's/^/   /'

bold "3. A syslog server (rsyslog, TLS on port $syslog)"
if [ -e /etc/apparmor.d/usr.sbin.rsyslogd ]; then # the profile goes by the path, and allows the system's own files only
    cp "$rsyslogd" "$here/rsyslogd"
    rsyslogd="$here/rsyslogd"
fi
cat >"$here/rsyslog.conf" <<END
global(workDirectory="$here" maxMessageSize="64k" net.enableDNS="off"
       defaultNetstreamDriverCAFile="$here/ca.pem"
       defaultNetstreamDriverCertFile="$here/server.pem"
       defaultNetstreamDriverKeyFile="$here/server.key")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="$syslog" ruleset="dmarc"
      streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")
template(name="frame" type="string" string="%timereported:::date-rfc3339% %syslogseverity-text% %app-name% %msgid% %msg%\n")
ruleset(name="dmarc") { action(type="omfile" file="$here/received.log" template="frame") }
*.* action(type="omfile" file="$here/rsyslog.log")
END
"$rsyslogd" -n -f "$here/rsyslog.conf" -i "$here/rsyslog.pid" 2>>"$here/rsyslog.log" &
servers+=($!)
answers $syslog rsyslog "$here/rsyslog.log"
echo "   ready"

bold "4. dmarc-shipper run --once --config demo.yaml"
(umask 077 && echo demo >"$here/password")
cat >"$here/demo.yaml" <<END
data_dir: $here/data
sources:
  rua:
    type: imap
    host: localhost
    port: $imaps
    user: dmarc@example.com
    password_file: $here/password
    tls: {ca_file: $here/ca.pem}
    archive_folder: Processed
    quarantine_folder: Unreadable
sinks:
  siem:
    type: syslog
    address: localhost:$syslog
    tls: {ca_file: $here/ca.pem}
END
sed 's/^/   | /' "$here/demo.yaml"
echo
set +e
"$shipper" run --once --config "$here/demo.yaml"
code=$?
set -e
echo "   exit code $code"
stop_servers # whatever they still hold is on disk after this

bold "5. What the syslog server wrote (each line shortened)"
touch "$here/received.log"
cut -c "1-${COLUMNS:-160}" "$here/received.log" | sed 's/^/   /'
echo "   = $(awk '{events[$4]++} END {for (type in events) printf "%d %s  ", events[type], type}' "$here/received.log")"
row="$(grep -m 1 ' dmarc_aggregate ' "$here/received.log" || true)"
if [ -n "$row" ]; then
    bold "   A row in full"
    fold -w "${COLUMNS:-160}" <<<"$row" | sed 's/^/   /'
fi

bold "6. The mailbox now"
for folder in INBOX Processed Unreadable; do
    path="$mailbox"
    [ "$folder" = INBOX ] || path="$mailbox/.$folder"
    echo "   $folder"
    # Dovecot gives a mail another name when it moves it; its subject stays.
    mails="$(grep -h -m 1 '^Subject: ' "$path"/{new,cur}/* 2>/dev/null | sed 's/^Subject: //')" || true
    sed 's/^/     /' <<<"${mails:-(nothing)}"
done

exit "$code"
