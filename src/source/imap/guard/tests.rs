use async_imap::imap_proto::Response;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

/// Returns what the scanner passes on for `input` that arrives in pieces of `piece` bytes.
fn scan(input: &[u8], allowed: u64, piece: usize) -> Result<Vec<u8>, Overrun> {
    let mut scanner = Scanner::new();
    scanner.allowed = allowed;
    let mut up = Vec::new();
    for chunk in input.chunks(piece) {
        let mut chunk = chunk.to_vec();
        let mut at = 0;
        while at < chunk.len() {
            let passed = scanner.pass(&mut chunk[at..])?;
            up.extend(&chunk[at..at + passed.scanned]);
            at += passed.scanned;
        }
    }
    Ok(up)
}

#[track_caller]
fn unchanged(input: &[u8]) {
    for piece in [1, 3, 4096] {
        assert_eq!(scan(input, 100, piece).unwrap(), input);
    }
}

#[track_caller]
fn refused(input: &[u8]) -> Overrun {
    let whole = scan(input, 100, 4096).unwrap_err();
    assert_eq!(scan(input, 100, 1).unwrap_err(), whole);
    whole
}

#[test]
fn literals_pass_as_they_are() {
    unchanged(b"* 1 FETCH (UID 1 BODY[] {8}\r\n({9}\r\n\0\xff)\r\nS1 OK done\r\n");
    unchanged(b"* LIST () \"/\" {3}\r\na\"b\r\n* SEARCH 1 2\r\n");
}

#[test]
fn an_announced_literal_over_the_cap_fails_before_it_arrives() {
    let overrun = Overrun::Literal { announced: 400_000_000, allowed: 100 };
    assert_eq!(refused(b"* 1 FETCH (BODY[] {400000000}\r\n"), overrun);
    assert_eq!(refused(b"* 1 FETCH (BODY[] {00000000000000000000000000000000400000000}\r\n"), overrun);
    assert_eq!(refused(b"* 1 FETCH (BODY[] ~{400000000}\r\n"), overrun);
    assert_eq!(refused(b"* 1 FETCH (BODY[] {400000000+}\r\n"), overrun);
    let absurd = refused(b"* 1 FETCH (BODY[] {99999999999999999999999999}\r\n");
    assert!(matches!(absurd, Overrun::Literal { announced: u64::MAX, .. }));
}

#[test]
fn literals_of_one_response_are_counted_together() {
    let sixty = [b'x'; 60];
    let two = [b"* 1 FETCH (BODY[1] {60}\r\n", &sixty[..], b" BODY[2] {60}\r\n"].concat();
    assert!(matches!(refused(&two), Overrun::Literal { announced: 60, .. }));
    let apart = [b"* 1 FETCH (X {60}\r\n", &sixty[..], b")\r\n* 2 FETCH (X {60}\r\n", &sixty, b")\r\n"].concat();
    unchanged(&apart);
}

#[test]
fn status_text_hides_no_literal() {
    let hidden = b"* OK {60}\r\n* 1 FETCH (UID 1 BODY[] {400000000}\r\n";
    assert!(matches!(refused(hidden), Overrun::Literal { announced: 400_000_000, .. }));
    assert_eq!(scan(b"S1 NO {5}\r\n", 100, 1).unwrap(), b"S1 NO (5}\r\n");
    assert_eq!(scan(b"+ {5}\r\n", 100, 1).unwrap(), b"+ (5}\r\n");
}

#[test]
fn status_text_that_would_panic_the_parser_is_made_harmless() {
    let clean = scan("* OK [ALERT]é\r\n".as_bytes(), 100, 1).unwrap();
    assert!(Response::parse(&clean).is_ok());
    unchanged("* OK [ALERT] é\r\n".as_bytes());
}

#[test]
fn namespaces_go_up_as_status_text_because_the_parser_knows_none() {
    for line in [r#"* NAMESPACE (("INBOX." ".")) NIL (("" "."))"#, r#"* namespace (("" "/")) NIL NIL"#] {
        for piece in [1, 3, 4096] {
            let up = scan(format!("{line}\r\nS1 OK done\r\n").as_bytes(), 100, piece).unwrap();
            let (_, response) = Response::parse(&up).unwrap();
            let Response::Data { outcome, .. } = response else { panic!("{response:?}") };
            assert_eq!(outcome.information.unwrap().split_once(' ').unwrap().1, line.splitn(3, ' ').nth(2).unwrap());
        }
    }
    unchanged(b"* NO such luck\r\n* NAP\r\n".split_at(16).0);
}

#[test]
fn a_line_without_an_end_fails() {
    let endless = [b"* SEARCH".to_vec(), b" 1".repeat(600_000)].concat();
    assert_eq!(scan(&endless, 100, 4096), Err(Overrun::Line));
}

#[test]
fn brackets_within_brackets_fail_but_those_in_quotes_count_for_nothing() {
    assert_eq!(refused(&[b"* 1 FETCH ".to_vec(), b"(".repeat(100)].concat()), Overrun::Depth);
    unchanged(&[b"* LIST () \"/\" \"\\\\\\\"".to_vec(), b"(".repeat(100), b"\"\r\n".to_vec()].concat());
}

#[tokio::test]
async fn bytes_after_the_line_that_was_read_are_noticed() {
    let (mut server, client) = duplex(100);
    server.write_all(b"S1 OK begin TLS\r\nS2 OK injected\r\n").await.unwrap();
    let mut guard = Guard::new(Box::new(client), Duration::from_secs(5));
    let mut line = [0; 100];
    assert_eq!(guard.read(&mut line).await.unwrap(), b"S1 OK begin TLS\r\n".len());
    assert!(guard.into_wire().is_none());
}

#[tokio::test]
async fn a_response_goes_up_whole_with_its_literals_and_nothing_of_the_next_one() {
    let (mut server, client) = duplex(100);
    let (first, second) = (b"* 1 FETCH (UID 1 BODY[] {6}\r\n\r\n({9}\r X {0}\r\n)\r\n", b"S1 OK done\r\n");
    server.write_all(&[&first[..], second].concat()).await.unwrap();
    let mut guard = Guard::new(Box::new(client), Duration::from_secs(5));
    guard.begin(Asked::contents(1, 100, 100));
    let mut up = [0; 100];
    for response in [&first[..], second] {
        let length = guard.read(&mut up).await.unwrap();
        assert_eq!(&up[..length], response);
    }
}

/// Regression: async-imap's parser parsed the whole line again for each byte that arrived.
#[tokio::test]
async fn a_line_goes_up_when_it_is_whole_and_a_literal_as_it_comes() {
    let (mut server, client) = duplex(1);
    let text = [&b"* SEARCH"[..], &b" 12345".repeat(10_000), b"\r\n"].concat();
    let line = text.clone();
    tokio::spawn(async move {
        server.write_all(&text).await.unwrap();
        server.write_all(b"* 1 FETCH (BODY[] {4}\r\nabcd)\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let mut guard = Guard::new(Box::new(client), Duration::from_secs(60));
    guard.begin(Asked::mails(10_000));
    let mut up = vec![0; line.len()];
    assert_eq!(guard.read(&mut up).await.unwrap(), line.len());
    assert!(up == line);
    let mut pieces = Vec::new();
    while pieces.last().is_none_or(|piece: &Vec<u8>| !piece.ends_with(b")\r\n")) {
        let length = guard.read(&mut up).await.unwrap();
        pieces.push(up[..length].to_vec());
    }
    assert_eq!(pieces[0], b"* 1 FETCH (BODY[] {4}\r\n");
    assert_eq!((pieces.len(), pieces.concat().len()), (6, 30));
}

#[tokio::test(start_paused = true)]
async fn a_byte_now_and_then_fails_the_read_in_the_end() {
    let (mut server, client) = duplex(100);
    tokio::spawn(async move {
        loop {
            server.write_all(b"x").await.ok();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut guard = Guard::new(Box::new(client), Duration::from_secs(60));
    guard.begin(Asked::LITTLE);
    let begin = Instant::now();
    let error = guard.read(&mut [0; 10]).await.unwrap_err();
    assert!(matches!(error.get_ref().unwrap().downcast_ref(), Some(Overrun::Slow { came: 300..302, .. })), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(305), "{:?}", begin.elapsed());
}

/// TLS handshake messages can go on without end, and carry no byte of IMAP.
#[tokio::test(start_paused = true)]
async fn a_wire_that_uses_up_each_turn_without_a_byte_is_silent() {
    struct Busy;
    impl AsyncRead for Busy {
        fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            // Like a socket that always has data: until the task's cooperative budget is used up.
            while let Poll::Ready(progress) = tokio::task::coop::poll_proceed(cx) {
                progress.made_progress();
            }
            Poll::Pending
        }
    }
    impl AsyncWrite for Busy {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
    let mut guard = Guard::new(Box::new(Busy), Duration::from_secs(5));
    tokio::spawn(async {
        // The paused clock advances by itself only when all tasks are idle.
        loop {
            tokio::time::advance(Duration::from_millis(100)).await;
        }
    });
    let error = guard.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn silence_fails_the_read() {
    let (_server, client) = duplex(100);
    let mut guard = Guard::new(Box::new(client), Duration::from_millis(10));
    let error = guard.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

/// Tokens that are significant to the scanner, and others.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        "* ",
        "OK ",
        "NO",
        "BYE ",
        "1 FETCH (",
        "S1 ",
        "+ ",
        "{",
        "3",
        "90",
        "}",
        "+}",
        "\r\n",
        "\n",
        "\"",
        "\\",
        "(",
        ")",
        "[ALERT]",
        "[UIDNEXT 5]",
        "é",
        "\0",
        "x",
    ]);
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat().into_bytes())
}

proptest! {
    #[test]
    fn pieces_make_no_difference(input in hostile(), piece in 1_usize..20) {
        prop_assert_eq!(scan(&input, 100, piece), scan(&input, 100, 4096));
    }

    #[test]
    fn no_status_line_makes_the_parser_panic(text in hostile(), status in prop::sample::select(vec!["* OK ", "S1 NO ", "+ ", "* BYE "])) {
        let line = [status.as_bytes(), &text, b"\r\n"].concat();
        if let Ok(clean) = scan(&line, 100, 4096) {
            let _ = Response::parse(&clean);
        }
    }

    #[test]
    fn no_literal_that_the_parser_awaits_is_larger_than_allowed(input in hostile()) {
        let Ok(clean) = scan(&input, 80, 4096) else { return Ok(()) };
        // With the literal `{90}`, the parser would ask for 90 more bytes.
        if let Err(awaited) = Response::parse(&clean) {
            let text = format!("{awaited:?}");
            prop_assert!(!text.contains("Size(90)"), "{}", text);
        }
    }
}
