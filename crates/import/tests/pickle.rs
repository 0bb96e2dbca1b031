//! The pickle machine on hand-made pickles: every protocol, and everything that it refuses.
#![allow(clippy::unwrap_used)]

use mnx_import::limits;
use mnx_import::pickle::{Loaded, Source, load, to_json};
use serde_json::{Value as Json, json};

fn read(bytes: &[u8]) -> Result<Loaded, String> {
    load(&mut Source::new(bytes)).map_err(|e| e.to_string())
}

fn json_of(bytes: &[u8]) -> Result<Json, String> {
    let loaded = read(bytes)?;
    to_json(&loaded.heap, loaded.root)
}

fn error(bytes: &[u8]) -> String {
    read(bytes).map(|_| "accepted".to_owned()).unwrap_or_else(|e| e)
}

#[test]
fn all_protocols_give_the_same_values() {
    // What CPython's pickle.dumps([None, True, -5, 1.5, "aé", {"k": (1, 2)}], PROTOCOL) gives, less some memo entries.
    let want = json!([null, true, -5, 1.5, "a\u{e9}", {"k": [1, 2]}]);
    let protocols: [&[u8]; 5] = [
        b"(lp0\nNaI01\naI-5\naF1.5\naVa\\u00e9\np1\na(dp2\nVk\np3\n(I1\nI2\ntp4\nsa.",
        b"]q\0(NI01\nJ\xfb\xff\xff\xffG?\xf8\0\0\0\0\0\0X\x03\0\0\0a\xc3\xa9q\x01}q\x02X\x01\0\0\0kq\x03(K\x01K\x02tq\x04se.",
        b"\x80\x02]q\0(N\x88J\xfb\xff\xff\xffG?\xf8\0\0\0\0\0\0X\x03\0\0\0a\xc3\xa9q\x01}q\x02X\x01\0\0\0kq\x03K\x01K\x02\x86q\x04se.",
        b"\x80\x04\x95\x2a\0\0\0\0\0\0\0]\x94(N\x88J\xfb\xff\xff\xffG?\xf8\0\0\0\0\0\0\x8c\x03a\xc3\xa9\x94}\x94\x8c\x01k\x94K\x01K\x02\x86\x94se.",
        b"\x80\x05\x95\x2a\0\0\0\0\0\0\0]\x94(N\x88J\xfb\xff\xff\xffG?\xf8\0\0\0\0\0\0\x8c\x03a\xc3\xa9\x94}\x94\x8c\x01k\x94K\x01K\x02\x86\x94se.",
    ];
    for bytes in protocols {
        assert_eq!(json_of(bytes), Ok(want.clone()), "{}", bytes.escape_ascii());
    }
}

#[test]
fn lines_of_text_are_read_as_python_reads_them() {
    // Left what CPython 3's pickle.loads is given, right what it gives (a lone surrogate apart, which Rust's text cannot hold).
    let cases: [(&[u8], &str); 11] = [
        (b"Vstem.wei\xf0ght\n.", "stem.wei\u{f0}ght"),
        (b"V\xc3\xa9\n.", "\u{c3}\u{a9}"),
        (b"V\\u0041\\U0001f600\n.", "A\u{1f600}"),
        (b"V\\\\u0041\n.", "\\\\u0041"),
        (b"V\\\\\\u0041\n.", "\\\\A"),
        (b"V\\q\\n\\x41\n.", "\\q\\n\\x41"),
        (b"Va\\\n.", "a\\"),
        (b"Va\r\n.", "a\r"),
        (b"V\\ud800x\n.", "\u{fffd}x"),
        (b"S'a\\x41\\n\\'\\\\'\n.", "aA\n'\\"),
        (b"S\"\xc3\xa9\"\n.", "\u{e9}"),
    ];
    for (bytes, want) in cases {
        assert_eq!(json_of(bytes), Ok(json!(want)), "{}", bytes.escape_ascii());
    }
}

#[test]
fn numbers_of_every_width() {
    assert_eq!(json_of(b"\x80\x02\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00."), Ok(json!(18_446_744_073_709_551_615.0)));
    assert_eq!(json_of(b"\x80\x02\x8a\x02\x00\xff."), Ok(json!(-256)));
    assert_eq!(json_of(b"\x80\x02\x8a\x00."), Ok(json!(0)));
    assert_eq!(json_of(b"L-12345678901L\n."), Ok(json!(-12_345_678_901i64)));
    assert_eq!(json_of(b"M\x01\x02."), Ok(json!(513)));
    assert!(error(b"\x8b\xff\xff\xff\x7f").contains("at most 16 are read"));
}

#[test]
fn numpy_scalars_and_arrays_under_both_module_paths() {
    for module in ["numpy.core.multiarray", "numpy._core.multiarray"] {
        // Protocol 2: bytes as latin1 text.
        let mut bytes = b"\x80\x02".to_vec();
        bytes.extend(format!("c{module}\nscalar\n").bytes());
        bytes.extend(b"cnumpy\ndtype\nX\x02\0\0\0f8\x89\x88\x87R(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb");
        bytes.extend(b"c_codecs\nencode\nX\x09\0\0\0\0\0\0\0\0\0\xc3\xa0?X\x06\0\0\0latin1\x86R\x86R.");
        assert_eq!(json_of(&bytes), Ok(json!(0.5)), "{module}");
        // Protocol 4: an array of two rows, big-endian, columns first.
        let mut bytes = b"\x80\x04".to_vec();
        bytes.extend(format!("c{module}\n_reconstruct\ncnumpy\nndarray\n").bytes());
        bytes.extend(b"K\0\x85C\x01b\x87R(K\x01K\x02K\x03\x86cnumpy\ndtype\n\x8c\x02i2\x89\x88\x87R");
        bytes.extend(b"(K\x03\x8c\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x88C\x0c\0\x01\0\x04\0\x02\0\x05\0\x03\xff\xfftb.");
        assert_eq!(json_of(&bytes), Ok(json!([[1, 2, 3], [4, 5, -1]])), "{module}");
    }
    // Protocol 5: numpy._core.numeric._frombuffer over a bytearray.
    let mut bytes = b"\x80\x05cnumpy._core.numeric\n_frombuffer\n(\x96\x08\0\0\0\0\0\0\0\0\0\x80?\0\0\0\xc0".to_vec();
    bytes.extend(b"cnumpy\ndtype\n\x8c\x02f4\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tbK\x02\x85\x8c\x01CtR.");
    assert_eq!(json_of(&bytes), Ok(json!([1.0, -2.0])));
}

#[test]
fn ordered_dictionaries_sets_and_keys() {
    assert_eq!(json_of(b"\x80\x02ccollections\nOrderedDict\n)R(X\x01\0\0\0bK\x01K\x07K\x02u."), Ok(json!({"b": 1, "7": 2})));
    // Python 2 gave the pairs as an argument.
    assert_eq!(json_of(b"\x80\x02ccollections\nOrderedDict\n]](U\x01aK\x05ea\x85R."), Ok(json!({"a": 5})));
    assert_eq!(json_of(b"\x80\x04\x8f(K\x01K\x02\x90."), Ok(json!([1, 2])));
    assert_eq!(json_of(b"\x80\x02cbuiltins\nset\n](K\x03e\x85R."), Ok(json!([3])));
    assert_eq!(json_of(b"\x80\x02}K\x01K\x02\x86K\x09s."), Ok(json!({"(1, 2)": 9})));
    assert_eq!(json_of(b"\x80\x02}(K\x01K\x02K\x01K\x03u."), Ok(json!({"1": 3})));
    assert_eq!(json_of(b"\x80\x04ccollections\nOrderedDict\n)}\x92."), Ok(json!({})));
}

#[test]
fn names_outside_the_list_are_refused_by_name_and_place() {
    let e = error(b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R.");
    assert!(e.contains("byte 2") && e.contains("os.system is not on the list") && e.contains("nothing of the file is run"), "{e}");
    let e = error(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.");
    assert!(e.contains("byte 18") && e.contains("builtins.eval"), "{e}");
    assert!(error(b"\x80\x02cbuiltins\nset.__class__\n.").contains("builtins.set.__class__ is not on the list"));
    assert!(error(b"(icollections\nOrderedDict\n.").contains("an instance of collections.OrderedDict"));
    assert!(error(b"(ccollections\nOrderedDict\no.").contains("OBJ"));
    assert!(error(b"\x80\x02\x82\x01.").contains("extension registry"));
    assert!(error(b"Phello\n.").contains("persistent id \"hello\""));
    // A name of the list is not a function for anything.
    assert!(error(b"\x80\x02ctorch\nFloatStorage\n)R.").contains("is a name only"));
    assert!(error(b"\x80\x02cnumpy\nndarray\n)R.").contains("is a name only"));
    assert!(error(b"\x80\x02K\x01)R.").contains("a call of an integer"));
    assert!(error(b"\x80\x04ccollections\nOrderedDict\n)}K\x01K\x02s\x92.").contains("keyword arguments"));
}

#[test]
fn broken_pickles_end_in_an_error() {
    let good: &[u8] =
        b"\x80\x04\x95\x2a\0\0\0\0\0\0\0]\x94(N\x88J\xfb\xff\xff\xffG?\xf8\0\0\0\0\0\0\x8c\x03a\xc3\xa9\x94}\x94\x8c\x01k\x94se.";
    for length in 0..good.len() {
        assert!(read(&good[..length]).is_err(), "{length} bytes");
    }
    for (bytes, reason) in [
        (&b"\x80\x09."[..], "protocol 9"),
        (b".", "the stack is empty"),
        (b"0.", "the stack is empty"),
        (b"(.", "the stack is empty"),
        (b"t.", "no mark"),
        (b"K\x01h\x05.", "memo 5 was never set"),
        (b"(K\x01d.", "key without a value"),
        (b"K\x01K\x02a.", "a list expected"),
        (b"K\x01K\x02b.", "a state for an integer"),
        (b"\xff.", "unknown pickle instruction 0xff"),
        (b"I12x\n.", "integer \"12x\""),
        (b"F--\n.", "float"),
        (b"Sabc\n.", "without quotes"),
        (b"V\\U00110000\n.", "110000 in a text is no character"),
        (b"V\\u12\n.", "cut short, 4 hexadecimal digits expected"),
        (b"S'\\q'\n.", "unknown escape"),
        (b"S'\\x4'\n.", "cut short, 2 hexadecimal digits expected"),
        (b"S'a\"\n.", "without quotes"),
        (b"S'\n.", "without quotes"),
        (b"X\xff\xff\xff\xffab", "more bytes asked for"),
        (b"X\xff\xff\x00\x00ab", "the file ends here"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffab", "more bytes asked for"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab", "more bytes asked for"),
        (b"c_codecs\nencode\nX\x01\0\0\0aX\x04\0\0\0rot1\x86R.", "coding \"rot1\""),
        (b"cnumpy\ndtype\nX\x02\0\0\0V8\x89\x88\x87R.", "NumPy type \"V8\""),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NK\0))\x89NtR", "a storage expected"),
    ] {
        let e = error(bytes);
        assert!(e.contains(reason), "{}: {e}", bytes.escape_ascii());
    }
}

#[test]
fn storages_are_named_by_letters_and_digits() {
    let with = |key: &str| {
        let mut b = b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX".to_vec();
        b.extend((key.len() as u32).to_le_bytes());
        b.extend(key.bytes());
        b.extend(b"X\x03\0\0\0cpuK\x04tQ.");
        b
    };
    assert!(read(&with("17")).is_ok());
    for key in ["../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "", "..", "a\0b", &"9".repeat(65)] {
        assert!(error(&with(key)).contains("a storage's key is"), "{key:?}");
    }
}

/// A tensor of this size, stride and offset over a storage of this many elements.
fn tensor(elements: u8, offset: u8, size: &[u8], stride: &[u8]) -> Vec<u8> {
    let mut b = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n".to_vec();
    b.extend(b"X\x01\0\0\x000X\x03\0\0\0cpuK");
    b.push(elements);
    b.extend(b"tQK");
    b.push(offset);
    for list in [size, stride] {
        b.push(b'(');
        list.iter().for_each(|n| b.extend([b'K', *n]));
        b.push(b't');
    }
    b.extend(b"\x89ccollections\nOrderedDict\n)RtR.");
    b
}

#[test]
fn tensors_stay_within_their_storage() {
    assert!(read(&tensor(6, 0, &[2, 3], &[3, 1])).is_ok());
    assert!(read(&tensor(6, 0, &[3, 2], &[1, 3])).is_ok());
    assert!(read(&tensor(1, 0, &[200, 200], &[0, 0])).is_ok());
    assert!(read(&tensor(0, 0, &[0, 3], &[3, 1])).is_ok());
    assert!(read(&tensor(6, 5, &[], &[])).is_ok());
    for bytes in [tensor(6, 1, &[2, 3], &[3, 1]), tensor(6, 0, &[2, 3], &[4, 1]), tensor(6, 6, &[], &[]), tensor(0, 0, &[1], &[1])] {
        assert!(error(&bytes).contains("leaves its storage"), "{}", error(&bytes));
    }
    // A number that no tensor has is shown: an offset, an extent, a storage's size.
    let replaced = |from: &[u8], to: &[u8]| {
        let bytes = tensor(6, 7, &[2, 3], &[3, 1]);
        let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
        error(&[&bytes[..at], to, &bytes[at + from.len()..]].concat())
    };
    let expected = "a whole number from 0 below 2^63 expected";
    let e = replaced(b"K\x07", b"J\xfc\xff\xff\xff");
    assert!(e.contains(&format!("a tensor's offset is -4, {expected}")), "{e}");
    let e = replaced(b"K\x07", b"\x8a\x09\0\0\0\0\0\0\0\0\x01");
    assert!(e.contains(&format!("a tensor's offset is 18446744073709551616, {expected}")), "{e}");
    let e = replaced(b"K\x07", b"N");
    assert!(e.contains("a tensor's offset is None"), "{e}");
    let e = replaced(b"(K\x02K\x03", b"(K\x02J\xff\xff\xff\xff");
    assert!(e.contains(&format!("a tensor's size[1] is -1, {expected}")), "{e}");
    let e = replaced(b"K\x06", b"J\xff\xff\xff\xff");
    assert!(e.contains(&format!("a storage's size is -1, {expected}")), "{e}");
    assert!(error(&tensor(6, 0, &[2, 3], &[1])).contains("2 extents and 1 strides"));
    assert!(error(&tensor(6, 0, &[1; 17], &[1; 17])).contains("17 axes"));
}

#[test]
fn circular_and_deep_structures_are_no_danger() {
    // Containers that hold themselves: reading is fine, a tree of them has no end.
    for own in [&b"\x80\x02]q\0h\0a."[..], b"\x80\x02}q\0K\x01h\0s."] {
        assert!(json_of(own).unwrap_err().contains("circular or nested deeper"));
    }
    // A million lists in one another.
    let mut deep = b"\x80\x02".to_vec();
    deep.extend(std::iter::repeat_n(b']', 1_000_000));
    deep.extend(std::iter::repeat_n(b'a', 999_999));
    deep.push(b'.');
    assert!(json_of(&deep).unwrap_err().contains("circular or nested deeper"));
    // Thirty doublings: a short pickle, a tree of a thousand million leaves.
    let mut laughs = b"\x80\x02]q\0K\x01a".to_vec();
    for i in 1..=30u8 {
        laughs.extend([b']', b'q', i, b'(', b'h', i - 1, b'h', i - 1, b'e']);
    }
    laughs.push(b'.');
    assert!(json_of(&laughs).unwrap_err().contains("more than"), "{:?}", json_of(&laughs).err());
}

#[test]
fn what_a_pickle_may_ask_for_is_limited() {
    let many = |byte: &[u8], n: usize| [b"\x80\x02", byte.repeat(n).as_slice(), b"."].concat();
    assert!(error(&many(b"N", limits::PICKLE_INSTRUCTIONS as usize + 1)).contains("instructions"));
    assert!(error(&many(b"]", limits::PICKLE_OBJECTS + 1)).contains("objects"));
    // One long text, encoded again and again.
    let mut copies = b"\x80\x02c_codecs\nencode\nq\0X\0\0\x10\0".to_vec();
    copies.extend(std::iter::repeat_n(b'a', 1 << 20));
    copies.extend(b"X\x06\0\0\0latin1\x86q\x01R");
    copies.extend(b"h\0h\x01R".repeat(70));
    copies.push(b'.');
    assert!(error(&copies).contains("bytes are copied"));
    // One long list, made a set again and again.
    let mut sets = b"\x80\x02cbuiltins\nset\nq\0](".to_vec();
    sets.extend(b"N".repeat(100_000));
    sets.extend(b"e\x85q\x01R");
    sets.extend(b"h\0h\x01R".repeat(50));
    sets.push(b'.');
    assert!(error(&sets).contains("bytes are copied"));
}
