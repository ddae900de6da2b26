//! Reading of files, environment and arguments, and their errors.

use super::{keys::Key, *};

fn layer(text: &str) -> Result<Layer, String> {
    Layer::from_toml(Path::new("t.toml"), text).map_err(|error| error.to_string())
}

fn file(text: &str) -> Result<Config, String> {
    Config::from_layers([layer(text)?]).map_err(|error| error.to_string())
}

fn printed(loaded: &Loaded) -> String {
    loaded.print(&Machine::here())
}

/// A printed file with every key set, commented examples included.
fn uncommented(printed: &str) -> String {
    let is_name = |name: &str| name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
    let line = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if rest.split_once(" = ").is_some_and(|(name, _)| is_name(name)) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    printed.lines().map(line).collect()
}

#[test]
fn a_printed_file_says_the_defaults_and_every_key() {
    let printed = printed(&Loaded::new([]).unwrap());
    assert_eq!(file(&printed), Ok(Config::default()));
    let all = layer(&uncommented(&printed)).unwrap();
    let merged = Merged::new(Layer::defaults(), [all.clone()]);
    for key in tables::tables().iter().flat_map(|table| &table.keys) {
        assert!(merged.value(key.table, key.name).is_some(), "{}", key.shown());
        assert!(key.default.is_some() != key.example.is_some(), "{}: one of the two", key.shown());
    }
    let read = Config::from_layers([all]).unwrap();
    assert_eq!((read.origin, read.dns.certificate.is_some()), (Config::default().origin, true));
}

#[test]
fn a_printed_file_says_what_is_in_effect_and_only_new_names() {
    let old = layer(
        "dns = \"127.0.0.1:1\"\nrecursion_first = \"dns\"\nmirrors = \"\"\n\n[cache]\nanswers_bytes_max = 1048576",
    )
    .unwrap();
    let loaded = Loaded::new([old]).unwrap();
    let printed = Loaded::new([layer(&printed(&loaded)).unwrap()]).unwrap();
    assert_eq!(printed.config, loaded.config);
    assert_eq!((loaded.warnings().len(), printed.warnings()), (3, &[][..]));
}

#[test]
fn names_are_told_apart() {
    let tables = tables::tables();
    let keys = || tables.iter().flat_map(|table| &table.keys);
    let mut variables: Vec<String> = keys().map(Key::variable).collect();
    variables.extend(keys().filter_map(Key::old_variable));
    variables.push(FILE_VARIABLE.into());
    let mut arguments: Vec<_> = keys().filter_map(|key| key.argument).collect();
    let mut above: Vec<_> =
        keys().filter_map(|key| if key.table.is_empty() { Some(key.name) } else { key.was }).collect();
    for count in [repeated(&mut variables), repeated(&mut arguments), repeated(&mut above)] {
        assert_eq!(count, 0);
    }
}

/// Number of names that repeat an earlier one.
fn repeated<T: Ord>(names: &mut Vec<T>) -> usize {
    let before = names.len();
    names.sort();
    names.dedup();
    before - names.len()
}

#[test]
fn later_layers_win_key_by_key() {
    let lookup = |name: &str| match name {
        "TOUCHMARK_ZONE" => Some("Env.Example".into()),
        "TOUCHMARK_CACHE_ANSWERS_BYTES_MAX" => Some("2097152".into()),
        "TOUCHMARK_LOG" => Some(String::new()),
        _ => None,
    };
    let file = "data = \"f\"\nzone = \"file.example\"\nlog = \"warn\"\n[grpc]\nlisten = \"[::1]:1\"\n[dns]\nlisten = \"127.0.0.1:1\"";
    let layers = [
        layer(file).unwrap(),
        Layer::from_environment(lookup).unwrap(),
        Layer::from_arguments([("--dns", Some("127.0.0.1:2".into())), ("--data", None)]),
    ];
    let mut expected = Config {
        data: "f".into(),
        zone: "env.example.".into(),
        origin: "env.example/ledger".into(),
        log: "warn".into(),
        ..Config::default()
    };
    expected.dns.listen = vec![([127, 0, 0, 1], 2).into()];
    expected.grpc.listen = "[::1]:1".parse().unwrap();
    expected.cache.answers_bytes_max = Auto::Set(2 << 20);
    assert_eq!(Config::from_layers(layers).unwrap(), expected);
}

#[test]
fn old_names_are_read_with_a_warning() {
    let old = "data = \"f\"\ndns = \"127.0.0.1:1\"\ngrpc = \"[::1]:1\"\ncache_bytes_max = 2097152\nrecursive = \"off\"\n\nonly = \"88.1\"\nmirror_of = \"http://a\"";
    let new = "data = \"f\"\n[dns]\nlisten = \"127.0.0.1:1\"\n[grpc]\nlisten = \"[::1]:1\"\n[cache]\nanswers_bytes_max = 2097152\n\
               [recursion]\nenabled = false\n[mirror]\nonly = [\"88.1\"]\nof = \"http://a/\"";
    assert_eq!(file(old).unwrap(), file(new).unwrap());
    let said = |layer: Layer| {
        Merged::new(Layer::defaults(), [layer]).warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(said(layer(new).unwrap()), [""; 0]);
    let warnings = said(layer(old).unwrap());
    assert_eq!(warnings.len(), 6, "{warnings:?}");
    assert_eq!(warnings[0], "t.toml, line 2, key `dns` is an old name; the name is `listen` in [dns] now");

    let lookup = |name: &str| match name {
        "TOUCHMARK_DNS" => Some("127.0.0.1:1".into()),
        "TOUCHMARK_CACHE_BYTES_MAX" => Some("2097152".into()),
        // The name did not change.
        "TOUCHMARK_DNS_WORKERS" => Some("3".into()),
        _ => None,
    };
    let environment = Layer::from_environment(lookup).unwrap();
    assert_eq!(
        said(environment.clone()),
        [
            "environment variable TOUCHMARK_DNS is an old name; the name is TOUCHMARK_DNS_LISTEN now",
            "environment variable TOUCHMARK_CACHE_BYTES_MAX is an old name; the name is TOUCHMARK_CACHE_ANSWERS_BYTES_MAX now",
        ]
    );
    let config = Config::from_layers([environment]).unwrap();
    assert_eq!((config.dns.listen[0].port(), config.cache.answers_bytes_max), (1, Auto::Set(2 << 20)));
}

#[test]
fn a_key_under_both_names_is_refused() {
    for text in ["dns_identity = \"a\"\n[dns]\nidentity = \"b\"", "[dns]\nidentity = \"b\"\n"] {
        let is_twice = text.starts_with("dns_");
        let expected = "t.toml, line 1, key `dns_identity` is the old form of t.toml, line 3, key `identity` in [dns]; keep the new one alone";
        assert_eq!(layer(text).err(), is_twice.then(|| expected.to_owned()));
    }
    let lookup =
        |name: &str| matches!(name, "TOUCHMARK_GRPC" | "TOUCHMARK_GRPC_LISTEN").then(|| "127.0.0.1:1".to_owned());
    assert_eq!(
        Layer::from_environment(lookup).unwrap_err().to_string(),
        "environment variable TOUCHMARK_GRPC is the old form of environment variable TOUCHMARK_GRPC_LISTEN; keep the new one alone"
    );
    // TOML itself rejects it.
    let refused = layer("dns = \"127.0.0.1:1\"\n[dns]\nidentity = \"b\"").unwrap_err();
    assert!(refused.ends_with("; `dns = …` is the old form of `listen` in [dns]"), "{refused}");
}

#[test]
fn versions() {
    assert_eq!(file("version = 1"), Ok(Config::default()));
    for (text, found) in [("\nversion = 2", "2"), ("\nversion = \"1\"", "\"1\"")] {
        let expected =
            format!("the configuration t.toml cannot be used: line 2: version {found}; this build reads version 1");
        assert_eq!(file(text), Err(expected));
    }
}

#[test]
fn unknown_names_are_refused_with_what_may_be_meant() {
    for (text, expected) in [
        ("zome = 1", "line 1: unknown field `zome`; the nearest is `zone`"),
        ("dns_worker = 1", "line 1: unknown field `dns_worker`; the nearest is `workers` in [dns]"),
        ("\n[dns]\nlistne = 1", "line 3: unknown field `listne` in [dns]; the nearest is `listen`"),
        (
            "[dns]\ndns_workers = 1",
            "line 2: unknown field `dns_workers` in [dns]; it is the old name of `workers` in [dns]",
        ),
        ("[http]\nworkers = 1", "line 2: unknown field `workers` in [http]; there is `workers` in [dns]"),
        ("allow = \"\"", "line 1: unknown field `allow`; there is `allow` in [recursion], `allow` in [mirror]"),
        ("index = 1", "line 1: unknown field `index`; it is a table: write its keys below [index]"),
        ("[dmz]\nlisten = 1", "line 1: unknown table [dmz]; the nearest is [dns]"),
        ("[dns.listen]\na = 1", "t.toml, line 1, key `listen` in [dns]: a table is not a text with commas in it"),
        // The first one in the file.
        ("[http]\nb = 1\n[dns]\na = 1", "line 2: unknown field `b` in [http]; the nearest is `listen`"),
    ] {
        let error = file(text).unwrap_err();
        let error = error.strip_prefix("the configuration t.toml cannot be used: ").unwrap_or(&error);
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn refusals_name_key_and_limit() {
    let table = [
        (
            "[cache]\nmemory_bytes_max = 5",
            "t.toml, line 2, key `memory_bytes_max` in [cache]: 5 is outside 16777216 to 1099511627776 bytes",
        ),
        ("[dns]\nworkers = true", "t.toml, line 2, key `workers` in [dns]: true is not a whole number"),
        ("\n\ndata = 1", "t.toml, line 3, key `data`: 1 is not a text"),
        ("data = \"a\"\ndata = \"b\"", "the configuration t.toml cannot be used: line 2: duplicate key"),
        ("dns = \"localhost\"", "t.toml, line 1, key `dns`: `localhost` is not an address with a port"),
        ("dns = \"127.0.0.1:1,\"", "t.toml, line 1, key `dns`: `` is not an address with a port"),
        ("dns = []", "t.toml, line 1, key `dns`: `` is not an address with a port"),
        (
            "dns_public = \"0.0.0.0\"",
            "t.toml, line 1, key `dns_public`: `0.0.0.0` is not an address that others can ask",
        ),
        (
            "[dns]\npublic = \"::1, x\"",
            "t.toml, line 2, key `public` in [dns]: `x` is not an address that others can ask",
        ),
        ("dns_workers = 65", "t.toml, line 1, key `dns_workers`: 65 is outside 0 to 64 threads"),
        (
            "dns_rate_exempt = \"10.0.0.1/8\"",
            "t.toml, line 1, key `dns_rate_exempt`: network `10.0.0.1/8` has bits set",
        ),
        (
            "[dns]\ncertificate = \"a\"",
            "t.toml, line 2, key `certificate` in [dns]: there is a certificate without its key: give `certificate_key` in [dns], too",
        ),
        (
            "dns_certificate_key = \"a\"",
            "t.toml, line 1, key `dns_certificate_key`: there is a key without its certificate",
        ),
        ("[dns]\nrate_slip = 11", "t.toml, line 2, key `rate_slip` in [dns]: 11 is outside 0 to 10 answers"),
        ("zone = \"a..b\"", "t.toml, line 1, key `zone`: zone `a..b`: label `` takes 0 octets; a label takes 1 to 63"),
        ("zone = \"\"", "t.toml, line 1, key `zone`: zone `` has no labels"),
        ("origin = \"a b\"", "t.toml, line 1, key `origin`: `a b` is not an origin: 1 to 255 bytes"),
        ("cache_bytes_max = 5", "t.toml, line 1, key `cache_bytes_max`: 5 is outside 1048576 to 1099511627776 bytes"),
        ("overlay_entries_max = 1", "t.toml, line 1, key `overlay_entries_max`: 1 is outside 1024 to 16777216 entries"),
        ("cache_bytes_max = -1", "t.toml, line 1, key `cache_bytes_max`: -1 is outside 1048576 to 1099511627776 bytes"),
        (
            "[cache]\ndns_bytes_max = \"64M\"",
            "t.toml, line 2, key `dns_bytes_max` in [cache]: `64M` is not a whole number",
        ),
        ("log = \"info,=\"", "t.toml, line 1, key `log`: `info,=` is not a level or a list of directives"),
        ("witnesses_required = 1", "t.toml, line 1, key `witnesses_required`: 1 is outside 0 to 0 witnesses"),
        ("witnesses = \"w\"", "t.toml, line 1, key `witnesses`: `w` is not a verifier key, a space and a URL"),
        ("witnesses = \"w+1 http://w\"", "t.toml, line 1, key `witnesses`: `w+1` is not a verifier key"),
        ("log = \"warning\"", "t.toml, line 1, key `log`: `warning` is no level"),
        ("log = \"info,hyper\"", "t.toml, line 1, key `log`: `hyper` is no level"),
        ("log = \"\"", "t.toml, line 1, key `log`: there is no level"),
        ("data = \"\"", "t.toml, line 1, key `data`: the data directory has no name"),
        ("[index]\nverifiable = \"yes\"", "t.toml, line 2, key `verifiable` in [index]: `yes` is neither on nor off"),
        ("dnssec = \"RSA\"", "t.toml, line 1, key `dnssec`: `RSA` is none of off, ECDSAP256SHA256, ED25519"),
    ];
    for (text, expected) in table {
        let error = file(text).unwrap_err();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    let number = Layer::from_environment(|name| (name == "TOUCHMARK_CACHE_BYTES_MAX").then(|| "64M".into())).unwrap();
    let error = Config::from_layers([number]).unwrap_err().to_string();
    assert_eq!(error, "environment variable TOUCHMARK_CACHE_BYTES_MAX: `64M` is not a whole number");
    let arguments = Layer::from_arguments([("--grpc", Some("x".into()))]);
    let error = Config::from_layers([arguments]).unwrap_err().to_string();
    assert!(error.starts_with("argument --grpc: `x` is not"), "{error}");
}

#[test]
fn recursion_needs_roots_and_proofs_need_recursion() {
    for (text, expected) in [
        ("enabled = true\nroots = \"r\"\nverify = \"latest\"", None),
        ("roots = \"r\"\nfirst = \"dns\"", None),
        ("enabled = \"on\"", Some("key `enabled` in [recursion]: a recursive node needs `roots`")),
        ("verify = \"included\"", Some("key `verify` in [recursion]: nothing is asked of other nodes")),
        (
            "enabled = true\nroots = \"r\"\nverify = \"latest\"\nfirst = \"dns\"",
            Some("key `first` in [recursion]: proofs come over gRPC"),
        ),
        ("verify = \"all\"", Some("key `verify` in [recursion]: `all` is none of off, included, latest")),
    ] {
        let refused = file(&format!("[recursion]\n{text}")).err();
        assert_eq!(refused.is_some(), expected.is_some(), "{text}: {refused:?}");
        assert!(refused.unwrap_or_default().contains(expected.unwrap_or_default()), "{text}");
    }
}

#[test]
fn whose_ledger_is_mirrored() {
    const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let read = |of: Option<&str>, key: Option<&str>, only: Option<&str>| {
        let arguments = [("--mirror-of", of), ("--mirror-key", key), ("--only", only)];
        let arguments = arguments.map(|(name, text)| (name, text.map(str::to_owned)));
        let config = Config::from_layers([Layer::from_arguments(arguments)]);
        config.map(|config| config.mirror).map_err(|error| error.to_string())
    };
    assert_eq!(read(None, None, None), Ok(Mirror::default()));
    let whole = read(Some("http://a.example/log/"), Some(KEY), Some("88.1, urn:oid:2.999")).unwrap();
    let only = Some(vec!["88.1".into(), "urn:oid:2.999".into()]);
    let expected = Mirror { of: Some("http://a.example/log".into()), key: Some(KEY.into()), only, ..Mirror::default() };
    assert_eq!(whole, expected);
    let table = [
        (Some("ftp://a"), None, None, "--mirror-of"),
        (Some("http://a b"), None, None, "--mirror-of"),
        (None, Some(KEY), None, "--mirror-key: there is no URL of the log of a primary: give `of` in [mirror], too"),
        (Some("http://a"), Some("x+y"), None, "--mirror-key"),
        (None, None, Some("88.1"), "--only: there is no URL of the log of a primary"),
        (Some("http://a"), None, Some("88..1"), "--only"),
    ];
    for (of, key, only, expected) in table {
        let refused = read(of, key, only).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
}
