//! Which command lines are right, and what wrong ones are told.

use std::process::{Command, Output};
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use holdfast::cli::{self, Cli};
use holdfast::service::{Selection, Service};

fn parse(line: &str) -> Result<cli::Command, String> {
    let words = std::iter::once("holdfast").chain(line.split_whitespace());
    Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| error.to_string())
}

#[test]
fn the_declaration_has_no_clashes() {
    Cli::command().debug_assert();
}

/// Crash points are of another binary: a service that people run dies at none.
#[test]
fn the_binary_has_no_crash_points() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_holdfast")).expect("it was built");
    let has = |text: &[u8]| program.windows(text.len()).any(|window| window == text);
    assert!(has(b"HOLDFAST_NO_BREAKER"), "it can be searched");
    for text in ["HOLDFAST_CRASH_POINT", "reservation.intent.committed", "mesh.outbox.acknowledged"] {
        assert!(!has(text.as_bytes()), "{text}");
    }
}

#[test]
fn right_lines_are_understood() {
    for line in [
        "up",
        "up --fresh --processes --port-base 9000 --data-dir /tmp/x",
        "up --database postgres://u:p@127.0.0.1/holdfast --nats-url nats://127.0.0.1:4222",
        "up -- --drain-limit-ms 100",
        "serve all",
        "serve voucher",
        "serve marketing --marketing-nearly-full-percent 90",
        "serve listing view --listing-listen 127.0.0.1:0",
        "serve reservation --listing-url http://127.0.0.1:1 --payment-url http://127.0.0.1:2 --print-config",
        "serve payment --mileage-url http://127.0.0.1:3 --payment-provider simulator",
        "token customer",
        "token host --subject bob@example.com --ttl 15m --keys /tmp/keys",
        "smoke --patience 30s --listing-url http://127.0.0.1:1",
        "demo all",
        "demo airbnb --language ko --patience 30s",
        "demo screening --voucher-url http://127.0.0.1:1",
        "load",
        "load --policy approval --concurrency 8",
        "load --concurrency 64 --seconds 30 --warmup 5 --listings 100",
        "load --rate 1000 --connections 8 --no-audit",
        "audit --settle 30s --stuck-after 2m",
        "audit --json",
        "serve all --audit-every 1m --audit-rows-max 1000",
        "audit --database postgres://u:p@127.0.0.1/holdfast",
        "trace reservations/01890000-0000-7000-8000-0123456789ab",
        "trace 01890000-0000-7000-8000-0123456789ab --view-url http://127.0.0.1:1",
        "outbox status --json",
        "breaker list --callee payment --json",
        "breaker open payment/ChargePayment --yes",
        "breaker disable mileage",
        "breaker auto payment --operator otto",
        "inject list --json",
        "inject set payment/ChargePayment=abort:UNAVAILABLE@30%#7 --for 30s --yes",
        "inject set payment=delay:0ms..1s",
        "inject clear --callee payment --yes",
        "serve reservation --no-retry --calls-limit 64 --inject payment=hang@5%,listing=delay:5ms",
        "dlq list --consumer mileage-on-payment",
        "dlq show deadLetters/17",
        "dlq redrive 17 18 --yes --operator otto",
        "dlq redrive --all --consumer mileage-on-payment",
        "saga list --waiting",
        "saga show reservations/01890000-0000-7000-8000-0123456789ab --json",
        "saga retry 01890000-0000-7000-8000-0123456789ab --yes",
        "saga abandon sagas/01890000-0000-7000-8000-0123456789ab --reason gone --give-up",
        "view rebuild --swap --allow-loss --samples 20",
        "view rebuild --yes",
    ] {
        assert!(parse(line).is_ok(), "{line}: {:?}", parse(line));
    }
}

#[test]
fn wrong_lines_are_refused_with_a_word_that_helps() {
    for (line, help) in [
        ("", "Usage"),
        ("start", "unrecognized subcommand"),
        ("crash-points", "unrecognized subcommand"),
        ("serve", "<SERVICE>"),
        ("serve cinema", "cinema"),
        ("serve listing --listing-listen somewhere", "--listing-listen"),
        ("serve marketing --marketing-nearly-full-percent 0", "1..=100"),
        ("up --port-base 65535", "--port-base"),
        ("up --database sqlite:x.db", "SQLite needs no option"),
        ("up --database mysql://x", "postgres://"),
        ("token", "<PERSONA>"),
        ("token admin", "customer"),
        ("token customer --ttl soon", "such as 30s"),
        ("token customer --subject ../root", "letters"),
        ("demo", "<STORY>"),
        ("demo cinema", "screening"),
        ("demo taxi --language fr", "ko"),
        ("load --policy all", "resort"),
        ("load --concurrency 0", "--concurrency"),
        ("load --concurrency 4 --rate 100", "cannot be used with"),
        ("trace payments/01890000-0000-7000-8000-0123456789ab", "reservations/"),
        ("trace", "<RESERVATION>"),
        ("dlq", "redrive"),
        ("dlq redrive", "<LETTERS>"),
        ("dlq redrive 17 --all", "cannot be used with"),
        ("dlq show letter", "deadLetters/17"),
        ("saga abandon 01890000-0000-7000-8000-0123456789ab", "--reason"),
        ("saga show payments/01890000-0000-7000-8000-0123456789ab", "sagas/"),
        ("view rebuild --allow-loss", "--swap"),
    ] {
        let error = parse(line).map(|_| ()).expect_err(line);
        assert!(error.contains(help), "{line}: {error}");
    }
}

#[test]
fn values_arrive_as_typed() {
    let Ok(cli::Command::Serve(serve)) = parse("serve view listing --view-listen 127.0.0.1:9") else {
        panic!("a right line")
    };
    assert_eq!(Selection::services(&serve.services), [Service::Listing, Service::View]);
    assert_eq!(serve.view.view_listen.port(), 9);
    let Ok(cli::Command::Token(token)) = parse("token operator --ttl 2h") else { panic!("a right line") };
    assert_eq!(token.ttl, Duration::from_secs(7_200));
    let Ok(cli::Command::Up(up)) = parse("up -- --message-log") else { panic!("a right line") };
    assert_eq!(up.serve, ["--message-log"]);
}

#[test]
fn every_command_explains_itself_with_every_option() {
    let cli = Cli::command();
    for command in cli.get_subcommands().flat_map(|command| std::iter::once(command).chain(command.get_subcommands())) {
        assert!(command.get_about().is_some(), "{} says nothing", command.get_name());
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{} {} has no help", command.get_name(), argument.get_id());
        }
    }
}

/// The program, in an empty folder and without the variables of whoever runs the tests.
fn run(line: &str) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command
        .args(line.split_whitespace())
        .current_dir(folder.path())
        .env_clear()
        .output()
        .expect("the program was built")
}

#[test]
fn without_a_mesh_commands_say_how_to_start_one() {
    for line in [
        "token customer",
        "smoke",
        "demo all",
        "load",
        "trace 01890000-0000-7000-8000-0123456789ab",
        "dlq list",
        "view rebuild",
    ] {
        let Output { status, stdout, stderr } = run(line);
        let error = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(1), "{line}: {error}");
        assert!(error.starts_with("error: no mesh runs in ") && error.contains("cargo up"), "{line}: {error}");
        assert!(stdout.is_empty(), "{line}");
    }
}

#[test]
fn the_printed_configuration_shows_sources_and_no_secrets() {
    let Output { status, stdout, .. } = run(
        "serve payment --print-config --payment-stripe-key sk_test_sesame --nats-url nats://me:sesame@127.0.0.1:4222",
    );
    let text = String::from_utf8_lossy(&stdout);
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(!text.contains("sesame"), "{text}");
    let line = |option: &str| {
        text.lines().find(|line| line.starts_with(option)).unwrap_or_else(|| panic!("{option} is missing: {text}"))
    };
    assert!(line("--payment-listen").contains("default"), "{text}");
    assert!(line("--nats-url").contains("nats://********@127.0.0.1:4222"), "{text}");
    assert!(line("--payment-stripe-key ").contains("command line"), "{text}");
}

#[test]
fn a_wrong_line_ends_with_code_2() {
    assert_eq!(run("serve cinema").status.code(), Some(2));
    assert_eq!(run("--version").status.code(), Some(0));
}

#[test]
fn a_busy_port_is_refused_before_anything_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound socket has an address");
    let Output { status, stderr, .. } =
        run(&format!("serve payment view --view-listen 127.0.0.1:0 --payment-listen {address}"));
    let error = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{error}");
    assert!(error.contains(&format!("port {} for payment is already in use", address.port())), "{error}");
    assert!(error.contains("--payment-listen"), "{error}");
}
