mod table;

use super::*;
use crate::config::{
    self, Config,
    sink::{Codec, Preset, SinkKind, SyslogFormat, SyslogMode},
    source::{Credentials, Security, SourceConfig, WithoutReport},
};

const DMARC_INGEST: &str = "\
[imap]
host = imap.example.com
port = 993
user = dmarc@example.com
password = se$cret%%;#x
folder = INBOX
archive_folder = Processed
mark_seen = true

[syslog]
enable = true
host = 2001:db8::1
port = 514
protocol = UDP
facility = LOG_LOCAL3

[output]
dir = /var/log/dmarc/100%%
save_json = true
save_ndjson = yes

[retention]
days = 30

[processing]
processed_db = state/processed.json
lock_file = /run/lock/dmarc.lock
shiny = 1

[logging]
level = WARNING
file_path = log/dmarc.log
max_bytes = 1048576
backup_count = 3
";

fn made(text: &str) -> (Made, Config) {
    let made =
        make(text, Path::new("/srv/old/config.ini"), Path::new("/data"), Path::new("/etc/x/imap-password")).unwrap();
    let loaded = config::parse(&made.yaml, Format::Yaml, "made");
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}\n{}", made.yaml));
    (made, loaded.config)
}

fn imap(config: &Config) -> &config::source::Imap {
    match &config.sources["rua"] {
        SourceConfig::Imap(imap) => imap,
        SourceConfig::File(_) => panic!("expected a mailbox"),
    }
}

fn syslog(config: &Config) -> &config::sink::Syslog {
    match &config.sinks["siem"].kind {
        SinkKind::Syslog(syslog) => syslog,
        other => panic!("expected syslog, not {other:?}"),
    }
}

#[test]
fn a_full_dmarc_ingest_configuration_is_converted() {
    let (made, config) = made(DMARC_INGEST);
    assert_eq!(config.data_dir.as_deref(), Some(Path::new("/data")));
    let imap = imap(&config);
    assert_eq!((&*imap.host, imap.port, &*imap.user), ("imap.example.com", 993, "dmarc@example.com"));
    assert_eq!((imap.folder[0].as_str(), imap.archive_folder.as_deref()), ("INBOX", Some("Processed")));
    assert!(
        matches!(&imap.credentials, Credentials::Password(config::secret::Secret::File(file)) if file == Path::new("/etc/x/imap-password"))
    );
    let syslog = syslog(&config);
    assert_eq!((syslog.mode, &*syslog.host, syslog.port, syslog.facility), (SyslogMode::Udp, "2001:db8::1", 514, 19));
    assert_eq!((syslog.format, &*syslog.app_name), (SyslogFormat::Rfc3164, "DMARC_DATA"));
    assert_eq!(config.sinks["siem"].encoding.fields, Preset::Seed);
    let file = |name: &str| match &config.sinks[name] {
        config::sink::SinkConfig { kind: SinkKind::File(file), encoding, .. } => {
            (file.path.display().to_string(), file.retention_days.map(u32::from), encoding.codec)
        }
        other => panic!("expected a file, not {other:?}"),
    };
    assert_eq!(file("archive"), ("/var/log/dmarc/100%%/%Y%m%d_all.json".into(), Some(30), Codec::Array));
    assert_eq!(file("archive_ndjson"), ("/var/log/dmarc/100%%/%Y%m%d_all.ndjson".into(), Some(30), Codec::Json));
    assert_eq!(config.log.level, config::LogLevel::Warn);
    assert_eq!(made.processed.as_deref(), Some(Path::new("/srv/old/state/processed.json")));
}

#[test]
fn the_password_is_only_in_the_password_file() {
    let (made, _) = made(DMARC_INGEST);
    assert_eq!(made.password.as_deref(), Some("se$cret%;#x"));
    let told = [&made.oddities[..], &made.missing, &made.differences].concat().join("\n") + &made.yaml;
    assert!(!told.contains("se$"), "{told}");
    assert!(made.oddities[0].contains("[imap] password (line 5)"), "{:?}", made.oddities);
}

#[test]
fn options_without_equivalent_are_reported_with_line_and_alternative() {
    let (made, _) = made(DMARC_INGEST);
    let missing = made.missing.join("\n");
    assert_eq!(made.missing.len(), 3, "{missing}");
    assert!(missing.contains("[imap] mark_seen (line 8) has no equivalent: mails are moved"), "{missing}");
    assert!(missing.contains("lock_file") && missing.contains("ends with the process"), "{missing}");
    assert!(missing.contains("[processing] shiny (line 28)") && missing.contains("docs/configuration.md"), "{missing}");
}

#[test]
fn configurations_of_the_script_before_dmarc_ingest_are_converted() {
    let (made, config) = made(
        "[imap]\nhost = imap.example.com     ; IMAP-Server\nuser = a@b.example\npassword = x\n\
         [syslog]\nenable = true\nhost = siem.example.com\nport = 1514\n\
         [logging]\nenable_file = false\nfile_path = x.log\n\
         [options]\nsave_json = true\nxml_output_dir = reports\ndays_to_keep = 7\nwrite_text_log = true\ntext_log_path = data.log\n",
    );
    assert_eq!(imap(&config).host, "imap.example.com");
    assert!(made.oddities[0].contains("[imap] host (line 2)"), "{:?}", made.oddities);
    assert_eq!((syslog(&config).mode, config.sinks["siem"].encoding.codec), (SyslogMode::Tcp, Codec::Text));
    assert_eq!(config.sinks.keys().collect::<Vec<_>>(), ["archive", "siem", "text"]);
    assert!(made.yaml.contains("path: /srv/old/reports/%Y%m%d_all.json"), "{}", made.yaml);
    assert!(made.missing.is_empty(), "{:?}", made.missing);
}

#[test]
fn a_parsedmarc_configuration_is_converted() {
    let (made, config) = made(
        "[general]\nsave_aggregate = True\nsave_smtp_tls = True\noutput = /srv/out\nsilent = False\nlog_file = /var/log/p.log\n\
         debug = True\nn_procs = 4\n\
         [imap]\nhost = imap.example.com\nuser = a\npassword = b\nssl = False\nport = 143\nskip_certificate_verification = True\n\
         [mailbox]\nreports_folder = INBOX/DMARC\narchive_folder = Done\ndelete = True\nbatch_size = 10\ncheck_timeout = 60\n\
         [syslog]\nserver = siem.example.com\nport = 6514\nprotocol = tls\ncafile_path = ca.pem\ntimeout = 2.5\nretry_attempts = 3\n\
         [elasticsearch]\nhosts = es:9200\n",
    );
    let imap = imap(&config);
    assert_eq!((imap.security, imap.port, imap.tls.verify_certificate), (Security::Starttls, 143, false));
    assert_eq!((imap.folder[0].as_str(), imap.archive_folder.as_deref()), ("INBOX/DMARC", Some("Done")));
    assert_eq!(
        (imap.quarantine_folder.as_deref(), imap.without_report),
        (Some("Done/Invalid"), WithoutReport::Quarantine)
    );
    assert_eq!(imap.poll_interval.as_secs(), 60);
    assert_eq!(config.sinks.keys().collect::<Vec<_>>(), ["archive", "siem", "stdout"]);
    assert_eq!((syslog(&config).mode, syslog(&config).connect_timeout.as_millis()), (SyslogMode::Tls, 2500));
    let events: Vec<_> = config.sinks["siem"].events.iter().map(|event| format!("{event:?}")).collect();
    assert_eq!(events, ["DmarcAggregate", "TlsRpt"]);
    let told = [&made.missing[..], &made.differences].concat().join("\n");
    for part in ["n_procs", "batch_size", "retry_attempts", "elasticsearch", "not deleted", "`run --once`"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn a_parsedmarc_test_run_moves_nothing_and_without_a_sink_of_ours_events_go_to_stdout() {
    let (made, config) =
        made("[imap]\nhost = h.example\nuser = a\npassword = b\nreports_folder = R\ntest = True\n[kafka]\nhosts = k\n");
    assert_eq!((imap(&config).folder[0].as_str(), imap(&config).archive_folder.as_deref()), ("R", None));
    assert_eq!(config.sinks.keys().collect::<Vec<_>>(), ["stdout"]);
    assert!(made.missing[0].contains("[kafka] hosts"), "{:?}", made.missing);
}

#[test]
fn a_maildir_of_parsedmarc_is_read_as_a_folder() {
    let (made, config) = made("[general]\noutput = out\n[maildir]\nmaildir_path = /var/mail/dmarc\n");
    assert!(matches!(&config.sources["rua"], SourceConfig::File(file) if file.path == Path::new("/var/mail/dmarc")));
    assert!(!made.logs_in && !made.yaml.contains("password"), "{}", made.yaml);
}

#[test]
fn unknown_ini_files_are_refused() {
    for text in ["[a]\nx = 1\n", "[msgraph]\nuser = x\n", ""] {
        assert!(make(text, Path::new("x.ini"), Path::new("/data"), Path::new("/p")).is_err(), "{text}");
    }
}
