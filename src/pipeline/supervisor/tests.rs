//! Runs with mock sources and sinks: the end of a run when one of them does not do its part.

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use tokio::time::sleep;

use super::*;
use crate::{
    config::{self, Format},
    event::EventType,
    ledger::{Commit, DocumentKey, Shipped, SinkKey, Unfinished, backend},
    sink::{Health, Inlet, Sink, SinkError},
    source::{Mail, MailRef, Pass, Place, SourceError, Verdict},
    trouble::Reason,
};

/// Upper bound for a run of these tests; one that takes longer hangs.
const LONG: Duration = Duration::from_secs(60);

const ONCE: Options = Options { once: true, dry_run: false, strict: false, reship: None };

/// Behaviour of a mock sink.
#[derive(Clone, Copy, PartialEq)]
enum Doing {
    Confirms,
    /// Takes no frames until it is stopped.
    Nothing,
    /// Takes all frames and confirms none.
    Keeps,
    /// Confirms some frames per second.
    Trickles,
    /// Ends without an error after its first frame.
    Ends,
    /// Rejects rows, and confirms everything.
    Rejects,
}

impl Sink for Doing {
    fn run(
        self: Box<Self>,
        mut inlet: Inlet,
        status: Status,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), SinkError>> {
        Box::pin(async move {
            status.report(Health::Up);
            let mut kept = Vec::new();
            loop {
                if *self == Doing::Nothing {
                    stop.cancelled().await;
                }
                let Some(Some(frame)) = stop.run_until_cancelled(inlet.next()).await else { return Ok(()) };
                match *self {
                    Doing::Confirms => status.confirm(frame.number),
                    Doing::Trickles => {
                        sleep(Duration::from_millis(150)).await;
                        status.confirm(frame.number);
                    }
                    Doing::Rejects => {
                        if frame.metadata.event_type == EventType::DmarcAggregate {
                            // Long enough for the reader to begin with the next mail.
                            sleep(Duration::from_millis(50)).await;
                            status.reject(&frame, &"too large");
                        }
                        status.confirm(frame.number);
                    }
                    Doing::Ends => return Ok(()),
                    Doing::Keeps | Doing::Nothing => kept.push(frame),
                }
            }
        })
    }
}

/// Mock source: hands over reports with these numbers of rows, and ends with the result of `then`.
struct Reports {
    rows: Vec<usize>,
    then: fn(Pass) -> Result<Pass, SourceError>,
    /// Waits for all verdicts before it ends.
    patient: bool,
    /// Gives all mails the same content.
    repeats: bool,
    /// Verdicts that came.
    verdicts: Arc<Mutex<Vec<Verdict>>>,
}

impl Default for Reports {
    fn default() -> Self {
        Self { rows: vec![1], then: Ok, patient: true, repeats: false, verdicts: Arc::default() }
    }
}

impl Source for Reports {
    fn name(&self) -> &str {
        "rua"
    }

    fn run(self: Box<Self>, mut intake: Intake) -> BoxFuture<'static, Result<Pass, SourceError>> {
        Box::pin(async move {
            for (mail, rows) in (1..).zip(&self.rows) {
                let content = Ok(report(if self.repeats { 1 } else { mail }, *rows));
                let place = place(mail);
                let permit = intake.reserve(1).await;
                intake.hand_over(Mail { mail: MailRef(mail), place, content, permit }).await?;
            }
            for _ in self.rows.iter().filter(|_| self.patient) {
                let (_, verdict) = intake.verdict().await.ok_or(SourceError::Stopped)?;
                self.verdicts.lock().unwrap().push(verdict);
            }
            if self.patient && !intake.stop.is_cancelled() {
                intake.looked_through("rua");
            }
            if !intake.once {
                intake.stop.cancelled().await;
            }
            (self.then)(Pass::default())
        })
    }
}

fn place(mail: u64) -> Place {
    Place::Imap {
        source: "rua".into(),
        account: "a@b:1".into(),
        folder: "INBOX".into(),
        uid_validity: 1,
        uid: mail as u32,
    }
}

fn report(number: u64, rows: usize) -> Bytes {
    let row = "<record><row><source_ip>192.0.2.1</source_ip><count>1</count></row>\
               <identifiers><header_from>example.org</header_from></identifiers></record>";
    format!(
        "<feedback><report_metadata><org_name>example</org_name><report_id>{number}</report_id><date_range><begin>1</begin>\
         <end>2</end></date_range></report_metadata><policy_published><domain>example.org</domain><p>none</p>\
         </policy_published>{}</feedback>",
        row.repeat(rows)
    )
    .into()
}

fn config(sinks: &str) -> Config {
    let text = format!(
        r#"{{"give_up_after": "200ms", "shutdown_timeout": "500ms", "sources": {{"rua": {{"type": "file", "path": "-"}}}},
            "sinks": {{{sinks}}}}}"#
    );
    config::parse(&text, Format::Json, "test").unwrap().config
}

/// More rows than the smallest queue holds.
const MANY: usize = 500;

const REQUIRED: &str = r#""out": {"type": "stdout", "buffer": {"max_size": "64KiB"}}"#;
const OPTIONAL: &str = r#""more": {"type": "file", "path": "more.ndjson", "required": false}"#;

/// Runs a source into one mock sink for each configured sink, in the order of their names.
async fn run(config: Config, sinks: &[Doing], source: Reports, ledger: Arc<dyn Ledger>, options: Options) -> Exit {
    ends(start(config, sinks, source, ledger, options, Stop::default())).await
}

async fn ends(supervisor: Supervisor) -> Exit {
    timeout(LONG, supervisor.run()).await.expect("the run hangs")
}

fn start(
    config: Config,
    sinks: &[Doing],
    source: Reports,
    ledger: Arc<dyn Ledger>,
    options: Options,
    stop: Stop,
) -> Supervisor {
    let destinations = config.sinks.iter().zip(sinks).map(|((name, config), doing)| Destination {
        name: name.as_str().into(),
        config: config.clone(),
        sink: Box::new(*doing),
    });
    let destinations = destinations.collect();
    Supervisor::start(destinations, vec![Box::new(source)], Arc::new(config), ledger, options, stop, Arc::default())
}

fn ledger() -> Arc<dyn Ledger> {
    backend::in_memory()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_trouble_exits_with_0() {
    let exit = run(config(REQUIRED), &[Doing::Confirms], Reports::default(), ledger(), ONCE).await;
    assert_eq!(exit, Exit::Done);
}

/// Regression: while sinks sent what was left, and nothing looked at the supervisor any more, the run was taken for stalled.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_single_pass_is_no_halt_however_long_it_takes() {
    let supervisor = start(config(REQUIRED), &[Doing::Confirms], Reports::default(), ledger(), ONCE, Stop::default());
    let condition = supervisor.condition.clone();
    ends(supervisor).await;
    assert!(condition.moves(Instant::now() + LONG));
}

/// Regression: the metrics held a sink's queue open, so that each single pass took all of `shutdown_timeout`.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_pass_ends_when_everything_has_arrived() {
    let config = Config { shutdown_timeout: LONG * 10, ..config(REQUIRED) };
    assert_eq!(run(config, &[Doing::Confirms], Reports::default(), ledger(), ONCE).await, Exit::Done);
}

/// Regression: the run waited for ever for the reader, which waited for room in the queue.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_source_failed_ends_though_a_sink_takes_nothing() {
    let source = Reports {
        rows: vec![MANY, 1],
        then: |_| Err(SourceError::Unreachable("gone".into())),
        patient: false,
        ..Reports::default()
    };
    let exit = run(config(REQUIRED), &[Doing::Nothing], source, ledger(), ONCE).await;
    assert_eq!(exit, Exit::Unavailable);
}

/// Regression: mails were fetched and left again and again, without end and without a log message.
#[tokio::test(flavor = "multi_thread")]
async fn a_required_sink_that_ends_by_itself_ends_the_run() {
    let source = Reports { rows: vec![2, 2], ..Reports::default() };
    let exit = run(config(REQUIRED), &[Doing::Ends], source, ledger(), Options::default()).await;
    assert_eq!(exit, Exit::Internal);
}

/// Regression: the exit code was 0.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_pass_that_could_not_move_its_mails_is_to_be_retried() {
    let source = Reports { then: |pass| Ok(Pass { unsettled: 1, ..pass }), ..Reports::default() };
    assert_eq!(run(config(REQUIRED), &[Doing::Confirms], source, ledger(), ONCE).await, Exit::Undelivered);
}

/// Regression: the exit code was now and then 0, if sources and readers had ended before the stop was looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_ends_all_sources_at_once_does_not_look_like_a_complete_pass() {
    for _ in 0..20 {
        let stop = Stop::default();
        stop.gently.cancel();
        let source = Reports { rows: Vec::new(), ..Reports::default() };
        let supervisor = start(config(REQUIRED), &[Doing::Confirms], source, ledger(), ONCE, stop);
        // The source and its reader end meanwhile.
        sleep(Duration::from_millis(20)).await;
        assert_eq!(ends(supervisor).await, Exit::Undelivered);
    }
}

/// Regression: the exit code was 0, as nothing was in flight when the run was stopped: the mails left had never been begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_pass_that_was_stopped_is_to_be_retried() {
    let stop = Stop::default();
    stop.gently.cancel();
    let supervisor = start(config(REQUIRED), &[Doing::Confirms], Reports::default(), ledger(), ONCE, stop);
    assert_eq!(ends(supervisor).await, Exit::Undelivered);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_confirmed_within_give_up_after_is_to_be_retried() {
    let exit = run(config(REQUIRED), &[Doing::Keeps], Reports::default(), ledger(), ONCE).await;
    assert_eq!(exit, Exit::Undelivered);
}

/// Regression: a confirmation of the other sink counted for both; that sink confirms for longer than the test may take.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_confirms_nothing_is_given_up_though_another_confirms_now_and_then() {
    let sinks = r#""dead": {"type": "stdout"}, "slow": {"type": "file", "path": "slow.ndjson"}"#;
    let config = Config { give_up_after: Duration::from_secs(1), ..config(sinks) };
    let source = Reports { rows: vec![MANY], ..Reports::default() };
    let exit = run(config, &[Doing::Keeps, Doing::Trickles], source, ledger(), ONCE).await;
    assert_eq!(exit, Exit::Undelivered);
}

/// Regression: a connected sink was waited for until `shutdown_timeout`, however long it had not confirmed anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_does_not_wait_for_a_sink_that_hangs() {
    let config = Config { shutdown_timeout: LONG * 10, ..config(REQUIRED) };
    let stop = Stop::default();
    let supervisor = start(config, &[Doing::Keeps], Reports::default(), ledger(), Options::default(), stop.clone());
    while supervisor.queues[0].unconfirmed() == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    stop.for_reload();
    assert_eq!(ends(supervisor).await, Exit::Undelivered);
}

/// Regression: a long report of which no sink takes any event was mistaken for a receiver that does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_that_reading_takes_is_no_silence_of_a_sink() {
    // Longer than a slow disk takes for the ledger, and shorter than the reading.
    let give_up_after = Duration::from_secs(1);
    let config = Config { give_up_after, ..config(r#""out": {"type": "stdout", "events": ["ingest_error"]}"#) };
    let source = Reports { rows: vec![60_000], ..Reports::default() };
    let begin = Instant::now();
    assert_eq!(run(config, &[Doing::Confirms], source, ledger(), ONCE).await, Exit::Done);
    assert!(begin.elapsed() > give_up_after, "{:?} is no long time", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_that_a_rate_limit_takes_is_no_silence_of_a_sink() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("events.ndjson");
    let sinks =
        format!(r#""out": {{"type": "file", "path": {path:?}, "rate_limit_num": 1, "rate_limit_duration_secs": 5}}"#);
    // Longer than a slow disk takes.
    let config = Arc::new(Config { give_up_after: Duration::from_secs(2), ..config(&sinks) });
    let destinations = build::destinations(&config);
    let sources: Vec<Box<dyn Source>> = vec![Box::new(Reports::default())];
    let supervisor = Supervisor::start(destinations, sources, config, ledger(), ONCE, Stop::default(), Arc::default());
    assert_eq!(ends(supervisor).await, Exit::Done);
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_not_required_holds_nothing_up_whatever_it_does() {
    for doing in [Doing::Nothing, Doing::Keeps, Doing::Ends] {
        let config = config(&format!("{REQUIRED}, {OPTIONAL}"));
        let source = Reports { rows: vec![MANY, 2], ..Reports::default() };
        let exit = run(config, &[doing, Doing::Confirms], source, ledger(), ONCE).await;
        assert_eq!(exit, Exit::Done);
    }
}

/// Regression: a mail's mark held the numbers of earlier mails, so that a mail without events for any sink waited for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_sends_nothing_to_a_sink_does_not_wait_for_it() {
    let sinks = r#""deaf": {"type": "stdout", "events": ["dmarc_aggregate"]}"#;
    let (config, ledger) = (config(sinks), ledger());
    let source = Reports { rows: vec![1, 0], ..Reports::default() };
    let exit = run(config, &[Doing::Keeps], source, ledger.clone(), ONCE).await;
    assert_eq!(exit, Exit::Undelivered, "the first mail is not confirmed");
    let known = |rows| {
        use sha2::Digest;
        let (number, rows) = if rows == 0 { (2, 0) } else { (1, rows) };
        let sha256 = sha2::Sha256::digest(report(number, rows)).into();
        ledger.claim(&DocumentKey { tenant: None, sha256 }, &[], None).unwrap().shipped.is_some()
    };
    assert!(!known(1) && known(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_long_past_is_forgotten_only_after_everything_was_looked_through() {
    let key = DocumentKey { tenant: None, sha256: [7; 32] };
    for (patient, is_kept) in [(true, false), (false, true)] {
        let ledger = ledger();
        let [before, long_ago] = [2, 500].map(|days| Timestamp::now() - SignedDuration::from_hours(24 * days));
        let shipped = Shipped {
            first_shipped: long_ago,
            last_seen: long_ago,
            org: None,
            report_id: None,
            rows: 1,
            mail: String::new(),
        };
        let documents = vec![(key.clone(), shipped, [SinkKey::EVERY].into())];
        ledger.commit(Arc::new(Commit { documents, ..Commit::at(before) })).await.unwrap();
        let source = Reports { patient, ..Reports::default() };
        run(config(REQUIRED), &[Doing::Confirms], source, ledger.clone(), ONCE).await;
        assert_eq!(ledger.claim(&key, &[], None).unwrap().shipped.is_some(), is_kept);
    }
}

/// The ledger's record of the report with this number and one row.
fn shipped(ledger: &dyn Ledger, number: u64) -> Option<Shipped> {
    use sha2::Digest;
    let sha256 = sha2::Sha256::digest(report(number, 1)).into();
    ledger.claim(&DocumentKey { tenant: None, sha256 }, &[], None).unwrap().shipped
}

/// Runs a source into two required sinks, and returns the exit code and the reasons of the quarantined mails, in order.
async fn rejected(
    sinks: &[Doing],
    rows: usize,
    repeats: bool,
    ledger: Arc<dyn Ledger>,
    strict: bool,
) -> (Exit, Vec<Reason>) {
    let source = Reports { rows: vec![1; rows], repeats, ..Reports::default() };
    let verdicts = source.verdicts.clone();
    let config = Config {
        give_up_after: LONG,
        ..config(&format!(r#"{REQUIRED}, "rejects": {{"type": "file", "path": "no.ndjson"}}"#))
    };
    let exit = run(config, sinks, source, ledger, Options { strict, ..ONCE }).await;
    let verdicts = verdicts.lock().unwrap();
    let reasons = verdicts.iter().map(|verdict| match verdict {
        Verdict::Quarantine(trouble) => trouble.reason,
        verdict => panic!("expected a quarantine, not {verdict:?}"),
    });
    (exit, reasons.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_quarantined_if_a_sink_rejects_its_rows_and_nothing_waits_for_them() {
    let ledger = ledger();
    let (exit, reasons) = rejected(&[Doing::Confirms, Doing::Rejects], 3, false, ledger.clone(), false).await;
    assert_eq!((exit, reasons), (Exit::Done, vec![Reason::SinkRejected; 3]));
    assert!(shipped(&*ledger, 1).is_some(), "the other sink has it");
    let (exit, _) = rejected(&[Doing::Confirms, Doing::Rejects], 3, false, ledger, true).await;
    assert_eq!(exit, Exit::Data, "it is quarantined again, as the sink rejects it again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_every_sink_rejects_was_not_shipped() {
    let ledger = ledger();
    let (_, reasons) = rejected(&[Doing::Rejects; 2], 2, false, ledger.clone(), false).await;
    assert_eq!((reasons, shipped(&*ledger, 1)), (vec![Reason::SinkRejected; 2], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_mails_that_contain_a_rejected_report_are_quarantined() {
    let (_, reasons) = rejected(&[Doing::Confirms, Doing::Rejects], 3, true, ledger(), false).await;
    assert_eq!(reasons, [Reason::SinkRejected; 3]);
}

/// The reader of a suspect waits until the one before it is settled, for which that reader has to report the rejection.
#[tokio::test(flavor = "multi_thread")]
async fn suspects_whose_rows_are_rejected_do_not_wait_for_each_other() {
    let ledger = ledger();
    let suspects = [1, 2, 3].map(|mail| Unfinished { place: place(mail), is_oldest: mail == 1, is_at_fault: false });
    ledger.note_unfinished(suspects.to_vec(), "out".into(), Timestamp::now()).await.unwrap();
    let (_, reasons) = rejected(&[Doing::Confirms, Doing::Rejects], 3, false, ledger, false).await;
    assert_eq!(reasons, [Reason::SinkRejected; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_archived_if_only_a_sink_that_is_not_required_rejects_its_rows() {
    let source = Reports::default();
    let (verdicts, config) = (source.verdicts.clone(), config(&format!("{REQUIRED}, {OPTIONAL}")));
    let exit = run(config, &[Doing::Rejects, Doing::Confirms], source, ledger(), ONCE).await;
    assert_eq!((exit, verdicts.lock().unwrap().as_slice()), (Exit::Done, &[Verdict::Archive][..]));
}
