use proptest::prelude::*;

use super::*;

/// The results of `fields` for a user who trusts `mx.example.com`, each as `method=result domain`.
fn told(fields: &[&str]) -> Option<Vec<String>> {
    told_by(&["mx.example.com"], fields)
}

fn told_by(trusted: &[&str], fields: &[&str]) -> Option<Vec<String>> {
    let (fields, trusted): (Vec<String>, Vec<String>) =
        (fields.iter().map(|&field| field.into()).collect(), trusted.iter().map(|&id| id.into()).collect());
    MailAuth::of(&fields, &trusted).map(|auth| auth.results.iter().map(in_words).collect())
}

fn in_words(told: &AuthResult) -> String {
    format!("{}={} {}", told.method.as_str(), told.result, told.domain.as_deref().unwrap_or("-"))
}

fn authenticated(field: &str) -> Option<String> {
    MailAuth::of(&[field.into()], &["mx.example.com".into()])?.authenticated_domain().map(str::to_owned)
}

/// Real fields of these servers, with names changed.
#[test]
fn authentication_results_of_common_servers_are_parsed() {
    let gmail = "mx.google.com;\r\n       dkim=pass header.i=@receiver.example header.s=20230601 header.b=\"abC+/d=\";\r\n       \
                 spf=pass (google.com: domain of noreply@receiver.example designates 192.0.2.1 as permitted sender) \
                 smtp.mailfrom=noreply@receiver.example;\r\n       dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=receiver.example";
    let all = ["dkim=pass receiver.example", "spf=pass receiver.example", "dmarc=pass receiver.example"];
    assert_eq!(told_by(&["mx.google.com"], &[gmail]).unwrap(), all);
    let microsoft = "spf=pass (sender IP is 192.0.2.1)\r\n smtp.mailfrom=receiver.example; dkim=pass (signature was verified)\r\n \
                     header.d=receiver.example;dmarc=pass action=none\r\n header.from=receiver.example;compauth=pass reason=100";
    let all = ["spf=pass receiver.example", "dkim=pass receiver.example", "dmarc=pass receiver.example"];
    assert_eq!(told_by(&[""], &[microsoft]).unwrap(), all);
    let opendkim = "mx.example.com;\r\n\tdkim=pass (2048-bit key; unprotected) header.d=receiver.example header.i=@receiver.example \
                    header.a=rsa-sha256 header.s=s1 header.b=AbC1/2+3";
    assert_eq!(told(&[opendkim]).unwrap(), ["dkim=pass receiver.example"]);
    let opendmarc = "mx.example.com; dmarc=pass (p=none dis=none) header.from=receiver.example";
    assert_eq!(told(&[opendmarc]).unwrap(), ["dmarc=pass receiver.example"]);
    let rspamd = "mx.example.com;\r\n\tdkim=pass header.d=receiver.example header.s=s1 header.b=\"a1B2\";\r\n\tspf=pass \
                  (mx.example.com: domain of a@b.receiver.example designates 192.0.2.1 as permitted sender) \
                  smtp.mailfrom=a@b.receiver.example;\r\n\tdmarc=pass (policy=reject) header.from=receiver.example";
    assert_eq!(told(&[rspamd]).unwrap()[1], "spf=pass b.receiver.example");
    let exim = "mx.example.com;\r\n\tiprev=pass (mail.receiver.example) smtp.remote-ip=192.0.2.1;\r\n\tspf=pass \
                smtp.mailfrom=receiver.example;\r\n\tdkim=pass header.d=receiver.example header.s=s1 header.a=rsa-sha256;\r\n\t\
                dmarc=pass header.from=receiver.example;\r\n\tarc=none";
    assert_eq!(told(&[exim]).unwrap(), all);
    let unsigned = "mx.example.com; dkim=none; spf=softfail smtp.mailfrom=receiver.example; dmarc=fail header.from=receiver.example";
    assert_eq!(
        told(&[unsigned]).unwrap(),
        ["dkim=none -", "spf=softfail receiver.example", "dmarc=fail receiver.example"]
    );
}

/// RFC 8601 appendix B, with its own server names.
#[test]
fn examples_of_rfc_8601_are_parsed() {
    let read = |field| told_by(&["example.org", "example.com"], &[field]);
    assert_eq!(read("example.org 1; none"), Some(vec![]));
    assert_eq!(read("example.com; spf=pass smtp.mailfrom=example.net").unwrap(), ["spf=pass example.net"]);
    assert_eq!(
        read(
            "example.com;\r\n          dkim=pass (good signature) header.d=example.com;\r\n          \
              dkim=fail (bad signature) header.d=example.net"
        )
        .unwrap(),
        ["dkim=pass example.com", "dkim=fail example.net"]
    );
    let commented = "foo.example.net (foobar) 1 (baz);\r\n    dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n      \
                     policy (A dot can go here) . (like that) expired\r\n      (this surprised me) = (as I wasn't expecting it) 1362471462";
    assert_eq!(told_by(&["foo.example.net"], &[commented]), Some(vec![]), "a method in pieces is none that we know");
}

#[test]
fn only_trusted_authserv_ids_count() {
    let pass = "dmarc=pass header.from=receiver.example";
    assert_eq!(told(&[]), None);
    for other in [
        "mx.example.org",
        "example.com",
        "amx.example.com",
        "mx.example.com.evil.example",
        "(mx.example.com) evil.example",
    ] {
        assert_eq!(told(&[&format!("{other}; {pass}")]), None, "{other}");
    }
    assert_eq!(told(&[pass]), None, "no server is named");
    assert!(told(&[&format!("MX.Example.COM; {pass}")]).is_some(), "names have no case");
    assert!(told(&[&format!("\"mx.example.com\" 1; {pass}")]).is_some());
    assert!(told_by(&[""], &[&format!("mx.example.com; {pass}")]).is_none());
    assert!(told_by(&[""], &[&format!("\"\"; {pass}")]).is_none(), "an id that is empty is none");
}

#[test]
fn fields_below_the_trusted_servers_own_are_ignored() {
    let own = "mx.example.com; spf=fail smtp.mailfrom=evil.example";
    let forged = "mx.example.com; dmarc=pass header.from=receiver.example";
    let other = "mx.example.org; dmarc=pass header.from=receiver.example";
    assert_eq!(told(&[own, forged]).unwrap(), ["spf=fail evil.example"]);
    assert_eq!(told(&[other, own, forged]).unwrap(), ["spf=fail evil.example"]);
    let none = "mx.example.com; none";
    assert_eq!(told(&[none, forged]), Some(vec![]));
    // Servers with an authserv-id for each method, such as iCloud's: each id has its own topmost field.
    let each = ["spf.example.com; spf=pass smtp.mailfrom=a.example", "dkim.example.com; dkim=pass header.d=a.example"];
    assert_eq!(
        told_by(&["dkim.example.com", "spf.example.com"], &each).unwrap(),
        ["spf=pass a.example", "dkim=pass a.example"]
    );
}

#[test]
fn comments_and_quoted_strings_cannot_forge_results() {
    assert_eq!(
        told(&["mx.example.com; spf=fail (x; dmarc=pass header.from=receiver.example) smtp.mailfrom=\"a; dmarc=pass\"@evil.example"])
            .unwrap(),
        ["spf=fail evil.example"]
    );
    assert_eq!(
        told(&["mx.example.com; dkim=pass (a (nested) \\) one) header.d=a.example"]).unwrap(),
        ["dkim=pass a.example"]
    );
    for nameless in [
        "mx.example.com evil; spf=pass smtp.mailfrom=a.example",
        "mx.example.com 1 2; spf=pass smtp.mailfrom=a.example",
        "; spf=pass smtp.mailfrom=a.example",
        "",
    ] {
        assert_eq!(told(&[nameless]), None, "{nameless:?}");
    }
}

/// A server may quote text of the sender that breaks its field, and that must not make the sender's forged field count.
#[test]
fn a_malformed_field_has_no_results_and_still_counts_as_topmost() {
    let forged = "mx.example.com; dmarc=pass header.from=receiver.example";
    for broken in [
        "mx.example.com; spf=pass (never closed smtp.mailfrom=a.example",
        "mx.example.com; spf=fail (domain of a) b@evil.example designates) smtp.mailfrom=a.example",
        "mx.example.com; spf=pass smtp.mailfrom=\"a@a.example",
        "mx.example.com; spf=pass smtp.mailfrom=a.example\0",
        "mx.example.com (never closed; spf=pass smtp.mailfrom=a.example",
        &format!("mx.example.com; spf=pass smtp.mailfrom=a.example; {}", "dkim=fail header.d=x.example; ".repeat(300)),
    ] {
        assert_eq!(told(&[broken, forged]), Some(vec![]), "{broken:?}");
    }
    let nameless = "spf=fail (domain of a) b@evil.example designates) smtp.mailfrom=a.example";
    assert_eq!(told_by(&[""], &[nameless, "dmarc=pass header.from=receiver.example"]), Some(vec![]));
}

#[test]
fn a_mail_has_one_result_of_dmarc_or_none() {
    let two = "mx.example.com; dmarc=fail header.from=evil.example; spf=pass smtp.mailfrom=x; dmarc=pass header.from=receiver.example";
    assert_eq!(told(&[two]).unwrap(), ["spf=pass x"]);
}

#[test]
fn the_authenticated_domain_is_that_of_dmarc_else_of_dkim_else_of_spf() {
    let field = |results: &str| authenticated(&format!("mx.example.com; {results}"));
    let some = |domain: &str| Some(domain.to_owned());
    let (spf, dkim) = ("spf=pass smtp.mailfrom=a@bounce.s.example", "dkim=pass header.d=mail.d.example");
    assert_eq!(field(&format!("{spf}; {dkim}; dmarc=pass header.from=www.f.example")), some("f.example"));
    assert_eq!(field(&format!("{spf}; {dkim}; dmarc=fail header.from=f.example")), some("d.example"));
    assert_eq!(field(&format!("{spf}; dkim=fail header.d=d.example")), some("s.example"));
    assert_eq!(field("spf=pass smtp.mailfrom=<> smtp.helo=mail.h.example"), some("h.example"));
    assert_eq!(
        field(
            "spf=neutral smtp.mailfrom=s.example; dkim=temperror header.d=d.example; dmarc=bestguesspass header.from=f.example"
        ),
        None
    );
    assert_eq!(field("spf=pass smtp.mailfrom= smtp.helo=mail.h.example"), some("h.example"));
    assert_eq!(field("dmarc=pass"), None, "for no domain");
    assert_eq!(field("none"), None);
}

proptest! {
    #[test]
    fn any_authentication_results_field_is_parsed_without_panic_and_within_bounds(fields in proptest::collection::vec("\\PC*|[a-z=;(). \"\\\\]{0,60}", 0..4)) {
        if let Some(auth) = MailAuth::of(&fields, &["mx.example.com".into(), String::new()]) {
            prop_assert!(auth.results.len() <= 2 * RESULTS);
            prop_assert!(auth.results.iter().all(|told| told.domain.as_ref().is_none_or(|domain| domain.len() <= DOMAIN_BYTES)));
        }
    }

    #[test]
    fn fields_added_by_the_sender_do_not_change_the_result(forged in proptest::collection::vec("(mx\\.example\\.com|other)?[ ;]{0,2}(dmarc=pass header\\.from=a\\.example)?[;\"() ]{0,3}", 0..5)) {
        let own = "mx.example.com; spf=pass smtp.mailfrom=b.example; dmarc=fail header.from=a.example";
        let all: Vec<&str> = std::iter::once(own).chain(forged.iter().map(String::as_str)).collect();
        prop_assert_eq!(told(&all), told(&[own]));
    }

    #[test]
    fn comments_and_folding_are_ignored(gaps in proptest::collection::vec("[ \t]|\r\n |\\(c\\)|\\(a\\(b\\)\\\\\\)\\) ", 5)) {
        let [a, b, c, d, e] = gaps.as_slice() else { unreachable!() };
        let field = format!("{a}mx.example.com{b};{c}dkim{d}={e}pass header.d{a}={b}a.example{c}header.s=s1{d};{e}spf=none");
        prop_assert_eq!(told(&[&field]).unwrap(), ["dkim=pass a.example", "spf=none -"]);
    }

    #[test]
    fn quoted_values_are_unquoted(local in "[ -~]{0,20}", domain in "[a-z]{1,9}\\.example") {
        let quoted: String = local.chars().flat_map(|letter| ['\\', letter]).collect();
        let field = format!("mx.example.com; spf=pass smtp.mailfrom=\"{quoted}\"@{domain}");
        prop_assert_eq!(told(&[&field]).unwrap(), [format!("spf=pass {domain}")]);
    }
}
