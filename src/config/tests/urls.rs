//! `--from` and `--to`.

use super::*;

fn arguments_with(from: &[&str], to: &[&str], variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let variable =
        |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
    let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (from, to) = (owned(from), owned(to));
    Loader { variable: &variable, fields: &[] }.arguments(&Arguments {
        file: None,
        from: &from,
        to: &to,
        ask: &|_| None,
    })
}

const PASSWORD: (&str, &str) = ("DMARC_SHIPPER_PASSWORD", "p$${x}w");

fn from(url: &str) -> Result<Loaded, Problems> {
    arguments_with(&[url], &["stdout:"], &[PASSWORD])
}

fn to(url: &str) -> Result<Loaded, Problems> {
    arguments_with(&["-"], &[url], &[])
}

#[test]
fn an_imap_url_sets_user_host_port_and_folder() {
    let loaded =
        from("imaps://dmarc@example.com@imap.example.com:1993/Reports/In%20box?archive=Done&poll_interval=1m").unwrap();
    let imap = imap(&loaded);
    assert_eq!((imap.user.as_str(), imap.host.as_str()), ("dmarc@example.com", "imap.example.com"));
    assert_eq!((imap.port, imap.folder[0].as_str()), (1993, "Reports/In box"));
    assert_eq!((imap.archive_folder.as_deref(), imap.quarantine_folder.as_deref()), (Some("Done"), None));
    assert_eq!(imap.poll_interval, Duration::from_secs(60));
    assert_eq!(password(imap).reveal().unwrap(), "p$${x}w", "what the environment holds is taken as it is");
}

#[test]
fn the_url_scheme_and_starttls_set_security() {
    use source::Security;
    for (url, security, port) in [
        ("imaps://u@h", Security::Tls, 993),
        ("imap://u@h/?starttls", Security::Starttls, 143),
        ("imap://u@[::1]", Security::None, 143),
        ("imaps://u@[::1]:1/", Security::Tls, 1),
    ] {
        let loaded = from(url).unwrap();
        let imap = imap(&loaded);
        assert_eq!((imap.security, imap.port, imap.folder[0].as_str()), (security, port, "INBOX"), "{url}");
        assert_eq!(imap.archive_folder, None, "a URL settles nothing by itself");
        let warned = loaded.warnings.iter().any(|warning| warning.contains("unencrypted"));
        assert_eq!(warned, security == Security::None, "{url}");
        assert!(!loaded.warnings.iter().any(|warning| warning.contains("data_dir")), "a URL has no place for it");
    }
}

#[test]
fn a_password_in_a_url_is_refused_and_not_repeated() {
    for url in [
        "imaps://me:s3cret@h/INBOX",
        "imaps://me@example.com:s3cret@h",
        "imaps://me:s3/cret@h/INBOX",
        "imaps://me:s3?cret@h/INBOX",
        "imaps://me@h/INBOX?password=s3cret",
        "http://me:s3cret@h/",
    ] {
        let told = from(url).unwrap_err().to_string();
        assert!(!told.contains("s3") && !told.contains("cret"), "{told}");
    }
    let told = from("imaps://me:s3cret@h/INBOX").unwrap_err().to_string();
    assert!(
        told.starts_with("--from imaps://me:…: contains a password or other credential, which every user"),
        "{told}"
    );
    for way in ["DMARC_SHIPPER_PASSWORD_FILE", "DMARC_SHIPPER_PASSWORD", "prompt"] {
        assert!(told.contains(way), "{told}");
    }
    assert_eq!(imap(&from("imaps://a%3Ab@h").unwrap()).user, "a:b");
}

#[test]
fn the_password_of_a_url_comes_from_a_file_the_environment_or_a_prompt() {
    let sinks = ["stdout:".to_owned()];
    let sources = ["imaps://me@h".to_owned()];
    let file = ("DMARC_SHIPPER_PASSWORD_FILE", "/run/secrets/imap");
    let loaded = arguments_with(&["imaps://me@h"], &["stdout:"], &[file, PASSWORD]).unwrap();
    assert_eq!(*password(imap(&loaded)), secret::Secret::File("/run/secrets/imap".into()));

    let ask = |who: &str| (who == "me at h").then(|| "asked".to_owned());
    let loader = Loader { variable: &|_| None, fields: &[] };
    let loaded = loader.arguments(&Arguments { file: None, from: &sources, to: &sinks, ask: &ask }).unwrap();
    assert_eq!(password(imap(&loaded)).reveal().unwrap(), "asked");

    let told = arguments_with(&["imaps://me@h"], &["stdout:"], &[]).unwrap_err().to_string();
    assert!(told.starts_with("--from imaps://me@h: no password is set and there is no terminal"), "{told}");
}

#[test]
fn files_folders_and_stdin_are_sources() {
    for (argument, path) in [
        ("-", "-"),
        ("./a:b", "./a:b"),
        ("/x/y.xml", "/x/y.xml"),
        ("reports", "reports"),
        ("file:rel/%d", "rel/%d"),
        ("file:///abs", "/abs"),
        ("file:/abs?poll_interval=10s", "/abs"),
    ] {
        let loaded = from(argument).unwrap();
        let Some(source::SourceConfig::File(file)) = loaded.config.sources.values().next() else {
            panic!("{loaded:?}")
        };
        assert_eq!(file.path, PathBuf::from(path), "{argument}");
    }
}

#[test]
fn sinks_of_every_kind_have_a_url() {
    let sink = |url: &str| to(url).unwrap().config.sinks.into_values().next().unwrap();
    assert!(matches!(sink("stdout:").kind, sink::SinkKind::Stdout(_)));
    let file = sink("file:/var/log/%Y%m%d.ndjson?codec=array");
    assert_eq!(file.encoding.codec, sink::Codec::Array);
    assert!(matches!(file.kind, sink::SinkKind::File(file) if file.path == *"/var/log/%Y%m%d.ndjson"));
    let loaded =
        to("syslog+tls://siem:1?ca_file=/etc/ca.pem&format=rfc3164&framing=newline_delimited&codec=text").unwrap();
    let syslog = syslog(&loaded);
    assert_eq!((syslog.host.as_str(), syslog.port, syslog.mode), ("siem", 1, sink::SyslogMode::Tls));
    assert_eq!(syslog.tls.ca_file, Some("/etc/ca.pem".into()));
    assert_eq!((syslog.format, syslog.framing), (sink::SyslogFormat::Rfc3164, sink::Framing::NewlineDelimited));
    for (url, port) in [("syslog+tcp://h", 601), ("syslog+udp://h", 514), ("syslog+tls://[::1]/", 6514)] {
        assert_eq!(super::syslog(&to(url).unwrap()).port, port, "{url}");
    }
    assert!(to("syslog+tls://h?tls.server_name=x").is_ok());
}

#[test]
fn the_options_of_a_url_are_checked_like_those_of_a_file() {
    let told =
        lines(to("syslog+udp://h?framing=octet_counting&rate_limit_num=x&colour=red&format=rfc3614").unwrap_err());
    let place = "--to syslog+udp://h: sinks.syslog";
    let expected = [
        format!("{place}.format: expected one of rfc5424, rfc3164, not \"rfc3614\"; did you mean rfc3164?"),
        format!("{place}.framing.method: is not used with mode: udp, where each datagram is a frame; remove it"),
        format!("{place}.rate_limit_num: expected a whole number from 1 to 4294967295, not \"x\""),
    ];
    for line in &expected {
        assert!(told.contains(line), "{told:#?}");
    }
    assert!(told.len() == 4 && told.iter().any(|line| line.contains(".colour: unknown option")), "{told:#?}");
}

#[test]
fn unknown_url_schemes_are_refused_with_the_known_ones() {
    for url in ["forward://h:24224", "kafka://h", "out.json", "stdout"] {
        let told = to(url).unwrap_err().to_string();
        assert!(told.contains("unknown kind of sink; known: syslog+tls://host:6514"), "{url}: {told}");
    }
    assert!(to("stdout:x").unwrap_err().to_string().contains("write stdout: alone"));
    for url in ["pop3://u@h", "https://h/reports"] {
        let told = from(url).unwrap_err().to_string();
        assert!(told.contains("unknown kind of source; known: imaps://user@host/FOLDER"), "{url}: {told}");
    }
    for url in ["imaps://host/INBOX", "imaps://u@h?starttls", "imaps://u@h?archive", "imaps://u@", "imaps://%ff@h"] {
        assert!(from(url).is_err(), "{url}");
    }
}

#[test]
fn an_http_url_keeps_its_path_and_takes_options_from_its_query() {
    let config =
        to("https://siem.example:8443/ingest/a?codec=array&compression=gzip&batch.max_events=50").unwrap().config;
    let sink = &config.sinks["http"];
    let sink::SinkKind::Http(http) = &sink.kind else { panic!("{sink:?}") };
    assert_eq!(
        (http.uri.to_string().as_str(), sink.encoding.codec),
        ("https://siem.example:8443/ingest/a", sink::Codec::Array)
    );
    assert_eq!((http.compression, http.requests.max_events), (sink::Compression::Gzip, 50));
}

#[test]
fn a_forward_url_names_the_transport_and_the_endpoint() {
    for (url, mode, endpoint) in [
        ("forward+tls://h?tag=dmarc", sink::ForwardMode::Tls, "h:24224"),
        ("forward+tcp://h:1/", sink::ForwardMode::Tcp, "h:1"),
        ("forward+unix:/run/fluent.sock", sink::ForwardMode::Tcp, "unix:/run/fluent.sock"),
        ("forward+unix:///run/fluent.sock", sink::ForwardMode::Tcp, "unix:/run/fluent.sock"),
    ] {
        let config = to(url).unwrap().config;
        let sink::SinkKind::Forward(forward) = &config.sinks["forward"].kind else { panic!("{url}") };
        assert_eq!((forward.mode, forward.endpoints[0].to_string().as_str()), (mode, endpoint), "{url}");
    }
}

#[test]
fn several_urls_of_one_type_get_unique_names() {
    let loaded = arguments_with(&["a", "b", "-"], &["stdout:", "file:/x", "file:/y"], &[]).unwrap();
    assert_eq!(loaded.config.sources.keys().collect::<Vec<_>>(), ["file", "file_2", "stdin"]);
    assert_eq!(loaded.config.sinks.keys().collect::<Vec<_>>(), ["file", "file_2", "stdout"]);
}

#[test]
fn urls_replace_sources_and_sinks_of_the_file_only() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dmarc.yaml");
    std::fs::write(&file, format!("tenant: acme\n{SMALL}    inputs: [rua]\n")).unwrap();
    let none = &|_: &str| None;
    let given = ["./reports".to_owned()];
    let loaded = from_arguments(&Arguments { file: Some(&file), from: &given, to: &[], ask: none }).unwrap();
    assert_eq!(loaded.config.sources.keys().collect::<Vec<_>>(), ["file"]);
    assert_eq!(loaded.config.sinks.keys().collect::<Vec<_>>(), ["out"]);
    assert!(loaded.config.sinks["out"].inputs.is_empty(), "it would name a source that is gone");
    assert_eq!(loaded.config.tenant.as_deref(), Some("acme"));
    let given = ["file:/x".to_owned()];
    let loaded = from_arguments(&Arguments { file: Some(&file), from: &[], to: &given, ask: none }).unwrap();
    assert_eq!(loaded.config.sinks.keys().collect::<Vec<_>>(), ["file"]);
    assert_eq!(loaded.config.sources.keys().collect::<Vec<_>>(), ["rua"]);
}

/// Usually an optional sink that missed events is the one that is shipped to again.
#[test]
fn a_sink_of_the_file_may_be_named_and_is_then_required() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(
        &file,
        "sources: {rua: {type: file, path: /nowhere}}\n\
         sinks: {siem: {type: stdout}, archive: {type: file, path: /var/log/x.json, required: false, inputs: [rua]}}\n",
    )
    .unwrap();
    let load = |to: &str| {
        let to = [to.to_owned()];
        Loader::default().arguments(&Arguments { file: Some(&file), from: &[], to: &to, ask: &|_| None })
    };
    let config = load("archive").unwrap().config;
    let sinks: Vec<_> =
        config.sinks.iter().map(|(name, sink)| (name.as_str(), sink.required, sink.inputs.len())).collect();
    assert_eq!(sinks, [("archive", true, 1)]);
    let told = load("archiv").unwrap_err().to_string();
    assert!(told.contains("unknown kind of sink") && told.contains("sinks of the file: siem, archive"), "{told}");
}

/// Regression: mails of sources that require these sinks were archived without being shipped to them.
#[test]
fn sinks_left_out_by_to_are_recorded_with_their_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(
        &file,
        "sources: {rua: {type: file, path: /a}, ruf: {type: file, path: /b}}\n\
         sinks:\n  siem: {type: stdout}\n  of_ruf: {type: file, path: /x, inputs: [ruf]}\n  \
         optional: {type: file, path: /y, required: false}\n  unset: {type: file, path: \"${NOT_SET_ANYWHERE}\"}\n",
    )
    .unwrap();
    let left_out = |from: &[&str], to: &[&str]| {
        let [from, to] = [from, to].map(|of| of.iter().map(ToString::to_string).collect::<Vec<_>>());
        let arguments = Arguments { file: Some(&file), from: &from, to: &to, ask: &|_| None };
        let config = Loader::default().arguments(&arguments).unwrap().config;
        ["rua", "ruf"].map(|source| config.left_out_of(source).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(left_out(&[], &["siem"]), ["unset", "of_ruf unset"]);
    assert_eq!(left_out(&[], &["siem", "of_ruf"]), ["unset", "unset"]);
    assert_eq!(left_out(&[], &["stdout:"]), ["siem unset", "of_ruf siem unset"]);
    assert_eq!(left_out(&["./c"], &["siem"]), ["", ""], "the command line says all of the way");
}
