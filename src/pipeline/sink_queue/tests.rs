//! The emitter: rows that are queued together.

use std::sync::Mutex;

use super::*;
use crate::{
    config::{self, Format},
    event::sample,
    ledger::backend,
    pipeline::build,
    sink::{Inlet, queue},
};

/// An emitter for sinks with these options, and the ends of their queues.
fn emitter(sinks: &[&str]) -> (tokio::runtime::Runtime, Emitter, Vec<Inlet>) {
    let sinks: Vec<_> = (0..)
        .zip(sinks)
        .map(|(number, options)| format!("s{number}: {{type: file, path: /tmp/s{number}.ndjson, {options}}}"))
        .collect();
    let text = format!("sources: {{rua: {{type: file, path: '-'}}}}\nsinks: {{{}}}", sinks.join(", "));
    let config = config::parse(&text, Format::Yaml, "test.yaml").unwrap().config;
    let (mut queues, mut inlets) = (Vec::new(), Vec::new());
    for (number, (name, config)) in config.sinks.iter().enumerate() {
        let (outlet, inlet) = queue(config.buffer_max_size);
        queues.push(Arc::new(SinkQueue::new(name.as_str().into(), config.clone(), outlet, number)));
        inlets.push(inlet);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (host, bookmark) = (build::this_machine(), backend::in_memory().bookmark());
    let handle = runtime.handle().clone();
    let mut emitter = Emitter::new("rua", queues.iter(), queues.len(), &host, handle, bookmark, Busy::default());
    emitter.begin(1, &place(1));
    (runtime, emitter, inlets)
}

fn place(uid: u32) -> Place {
    let (source, account, folder) = ("rua".into(), "a@b:1".into(), "INBOX".into());
    Place::Imap { source, account, folder, uid_validity: 1, uid }
}

fn emit(emitter: &mut Emitter, event: &Event) {
    emitter.emit(event, &Recipients::All, &|| {}).unwrap();
}

#[test]
fn rows_are_queued_with_the_event_after_the_last_of_them_and_have_the_numbers_of_their_order() {
    let (_runtime, mut emitter, mut inlets) = emitter(&["required: true", "events: [report]"]);
    for _ in 0..3 {
        emit(&mut emitter, &sample::aggregate());
    }
    assert_eq!((inlets[0].waiting(), emitter.mark()), (0, &vec![0, 0]), "they have no number before they are queued");
    emit(&mut emitter, &sample::report_event());
    assert_eq!((inlets[0].waiting(), inlets[1].waiting(), emitter.mark()), (1, 1, &vec![4, 1]));
    let numbers: Vec<_> = std::iter::from_fn(|| inlets[0].try_next()).map(|frame| frame.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn a_reader_that_waits_for_one_sink_has_queued_everything_for_the_others() {
    let (_runtime, mut emitter, mut inlets) = emitter(&["buffer: {max_size: 64KiB}", "buffer: {max_size: 8MiB}"]);
    let (mut other, mut full) = (inlets.pop().unwrap(), inlets.pop().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    let emitted = Arc::new(Mutex::new(0));
    let count = emitted.clone();
    let reader = std::thread::spawn(move || {
        // More than the first queue holds.
        for _ in 0..200 {
            *count.lock().unwrap() += 1;
            emitter.emit(&sample::aggregate(), &Recipients::All, &|| tell.send(()).unwrap()).unwrap();
        }
        emit(&mut emitter, &sample::report_event());
    });
    // The reader calls `idle` once it has waited for a moment.
    told.recv().unwrap();
    let emitted = *emitted.lock().unwrap();
    assert!(emitted < 200, "the queue is full");
    assert_eq!(std::iter::from_fn(|| other.try_next()).count(), emitted);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let taken = runtime.block_on(async {
        let mut taken = 0;
        while full.next().await.is_some() {
            taken += 1;
        }
        taken
    });
    reader.join().unwrap();
    assert_eq!((taken, emitted + std::iter::from_fn(|| other.try_next()).count()), (201, 201));
}

#[test]
fn rows_of_a_mail_that_was_abandoned_are_not_sent_with_the_next() {
    let (_runtime, mut emitter, mut inlets) = emitter(&["required: true"]);
    emit(&mut emitter, &sample::aggregate());
    emitter.begin(2, &place(2));
    emit(&mut emitter, &sample::report_event());
    let mails: Vec<_> = std::iter::from_fn(|| inlets[0].try_next()).map(|frame| frame.metadata.mail).collect();
    assert_eq!(mails, [Some(2)]);
}

#[test]
fn an_optional_sink_misses_a_block_that_does_not_fit_and_counts_its_events() {
    let (_runtime, mut emitter, mut inlets) =
        emitter(&["required: false, buffer: {max_size: 64KiB}", "required: true"]);
    for _ in 0..300 {
        emit(&mut emitter, &sample::aggregate());
    }
    emit(&mut emitter, &sample::report_event());
    let counts = emitter.lanes[0].queue.counts();
    let [queued, missed] = [&counts.queued, &counts.missed].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(queued + missed, 301);
    assert!(queued > 0 && missed > 0, "{queued} {missed}");
    assert_eq!(std::iter::from_fn(|| inlets[0].try_next()).count() as u64, queued);
}
