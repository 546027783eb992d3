//! Generated mails with reports: the same seed gives the same mails, with known content.

mod pack;

use std::{fmt::Write as _, ops::RangeInclusive};

use serde_json::Value;

pub use pack::{Container, damaged, mail};

/// Mails, and the reports in them (each once, though several mails may contain it).
pub struct Batch {
    pub mails: Vec<Vec<u8>>,
    pub reports: Vec<Report>,
}

/// One aggregate report.
#[derive(Debug, Clone)]
pub struct Report {
    pub reporter: &'static Reporter,
    pub report_id: String,
    pub domain: String,
    /// Seconds since 1970.
    pub begin: i64,
    pub rows: Vec<Row>,
}

/// A reporter, and the format of its reports.
#[derive(Debug)]
pub struct Reporter {
    pub org: &'static str,
    pub host: &'static str,
    pub container: Container,
    /// Namespace and elements of RFC 9990 instead of RFC 7489.
    pub rfc9990: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub source_ip: String,
    pub count: i64,
    pub disposition: &'static str,
    pub dkim: &'static str,
    pub spf: &'static str,
    pub header_from: String,
}

/// Fields that an event and a generated row have in common; two sorted lists are equal if they contain the same rows.
pub type Essence = (String, String, String, String, i64, String, String, String, String);

static REPORTERS: [Reporter; 5] = [
    Reporter { org: "Example Mail", host: "mail.example", container: Container::Gzip, rfc9990: false },
    Reporter { org: "Beispiel Post AG", host: "post.example", container: Container::Zip, rfc9990: false },
    Reporter { org: "mx.example.net", host: "mx.example.net", container: Container::Gzip, rfc9990: true },
    Reporter { org: "Ex & Ample", host: "ample.example", container: Container::Plain, rfc9990: false },
    Reporter { org: "Courrier Exemple", host: "courrier.example", container: Container::TarGz, rfc9990: true },
];

impl Batch {
    /// Generates `mails` mails with one report each, which has `rows` rows; every `repeat_every`th one is an earlier
    /// report in another container (0: none is).
    pub fn generate(seed: u64, mails: usize, rows: RangeInclusive<u64>, repeat_every: usize) -> Self {
        let mut random = Random(seed | 1);
        let mut batch = Self { mails: Vec::new(), reports: Vec::new() };
        for number in 0..mails {
            if repeat_every > 0 && number % repeat_every == repeat_every - 1 {
                let earlier = random.pick(&batch.reports).clone();
                let container = match earlier.reporter.container {
                    Container::Gzip => Container::Zip,
                    _ => Container::Gzip,
                };
                batch.mails.push(earlier.mail_in(container, number));
            } else {
                let report = Report::generate(&mut random, number, rows.clone());
                batch.mails.push(report.mail_in(report.reporter.container, number));
                batch.reports.push(report);
            }
        }
        batch
    }

    pub fn row_count(&self) -> usize {
        self.reports.iter().map(|report| report.rows.len()).sum()
    }

    /// Returns the number of events for the batch: one per row, and a `report` event for the document in each mail,
    /// including duplicates.
    pub fn event_count(&self) -> usize {
        self.row_count() + self.mails.len()
    }

    /// Returns the sum of the counts of all rows.
    pub fn message_count(&self) -> i64 {
        self.reports.iter().flat_map(|report| &report.rows).map(|row| row.count).sum()
    }

    /// Returns the expected content of all row events, sorted.
    pub fn essences(&self) -> Vec<Essence> {
        let mut essences: Vec<Essence> = self.reports.iter().flat_map(Report::essences).collect();
        essences.sort();
        essences
    }
}

/// Returns the content of the `dmarc_aggregate` events, sorted.
#[track_caller]
pub fn essences<'a>(events: impl IntoIterator<Item = &'a Value>) -> Vec<Essence> {
    let mut essences: Vec<Essence> = events
        .into_iter()
        .map(|event| {
            let text = |key: &str| event[key].as_str().unwrap_or_else(|| panic!("no text {key} in {event}")).to_owned();
            let count = event["count"].as_i64().unwrap_or_else(|| panic!("no integer count in {event}"));
            let (org, id, domain, address) = (text("org"), text("report_id"), text("domain"), text("source_ip"));
            let verdicts = (text("disposition"), text("dkim"), text("spf"), text("header_from"));
            (org, id, domain, address, count, verdicts.0, verdicts.1, verdicts.2, verdicts.3)
        })
        .collect();
    essences.sort();
    essences
}

impl Report {
    fn generate(random: &mut Random, number: usize, rows: RangeInclusive<u64>) -> Self {
        let domain = format!("d{}.example.org", random.below(20));
        let row_count = rows.start() + random.below(rows.end() - rows.start() + 1);
        Self {
            reporter: random.pick(&REPORTERS),
            report_id: format!("{number}.{:x}", random.next()),
            begin: 1_767_225_600 + i64::try_from(random.below(300)).unwrap() * 86_400,
            rows: (0..row_count).map(|index| Row::generate(random, &domain, index)).collect(),
            domain,
        }
    }

    /// Returns the report as a mail; `number` makes each mail different.
    pub fn mail_in(&self, container: Container, number: usize) -> Vec<u8> {
        let Self { reporter, domain, report_id, begin, .. } = self;
        let stem = format!("{}!{domain}!{begin}!{}", reporter.host, begin + 86_399);
        let subject = format!("Report Domain: {domain} Submitter: {} Report-ID: {report_id}", reporter.host);
        pack::mail(reporter.host, &subject, number, &stem, container, self.xml().as_bytes())
    }

    pub fn xml(&self) -> String {
        let Self { reporter, report_id, domain, begin, rows } = self;
        let (org, host, end) = (reporter.org.replace('&', "&amp;"), reporter.host, begin + 86_399);
        let (namespace, published) = if reporter.rfc9990 {
            (
                " xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\"",
                "<np>reject</np><testing>n</testing><discovery_method>treewalk</discovery_method>",
            )
        } else {
            ("", "<pct>100</pct>")
        };
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<feedback{namespace}>\n<version>1.0</version>\n<report_metadata>\
             <org_name>{org}</org_name><email>dmarc@{host}</email><report_id>{report_id}</report_id>\
             <date_range><begin>{begin}</begin><end>{end}</end></date_range></report_metadata>\n\
             <policy_published><domain>{domain}</domain><adkim>r</adkim><aspf>r</aspf><p>quarantine</p><sp>none</sp>\
             {published}</policy_published>\n"
        );
        for row in rows {
            row.write(&mut xml);
        }
        xml.push_str("</feedback>\n");
        xml
    }

    fn essences(&self) -> impl Iterator<Item = Essence> {
        self.rows.iter().map(|row| {
            let Row { source_ip, count, disposition, dkim, spf, header_from } = row.clone();
            let (org, id, domain) = (self.reporter.org.to_owned(), self.report_id.clone(), self.domain.clone());
            (org, id, domain, source_ip, count, disposition.into(), dkim.into(), spf.into(), header_from)
        })
    }
}

impl Row {
    fn generate(random: &mut Random, domain: &str, index: u64) -> Self {
        // RFC 5737 and RFC 3849: addresses for documentation.
        let source_ip = match random.below(4) {
            0 => format!("2001:db8:{:x}::{:x}", random.below(0xffff) + 1, index + 1),
            1 => format!("192.0.2.{}", random.below(255)),
            2 => format!("198.51.100.{}", random.below(255)),
            _ => format!("203.0.113.{}", random.below(255)),
        };
        let (dkim, spf) = *random.pick(&[("pass", "pass"), ("pass", "fail"), ("fail", "pass"), ("fail", "fail")]);
        Self {
            source_ip,
            count: i64::try_from(random.below(500) + 1).unwrap(),
            disposition: if (dkim, spf) == ("fail", "fail") { "quarantine" } else { "none" },
            dkim,
            spf,
            header_from: random.pick(&[domain.to_owned(), format!("news.{domain}")]).clone(),
        }
    }

    fn write(&self, xml: &mut String) {
        let Self { source_ip, count, disposition, dkim, spf, header_from } = self;
        writeln!(
            xml,
            "<record><row><source_ip>{source_ip}</source_ip><count>{count}</count><policy_evaluated>\
             <disposition>{disposition}</disposition><dkim>{dkim}</dkim><spf>{spf}</spf></policy_evaluated></row>\
             <identifiers><header_from>{header_from}</header_from><envelope_from>{header_from}</envelope_from></identifiers>\
             <auth_results><dkim><domain>{header_from}</domain><selector>s1</selector><result>{dkim}</result></dkim>\
             <spf><domain>{header_from}</domain><scope>mfrom</scope><result>{spf}</result></spf></auth_results></record>"
        )
        .unwrap();
    }
}

/// xorshift64*: small, and the same on all platforms.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 32) % bound
    }

    fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}
