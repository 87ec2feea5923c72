//! The shell, from outside: a script, what it prints, how it ends.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

fn shell(args: &[&str], input: &str) -> (String, String, i32) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_toolbox"))
        .arg0("sh")
        .args(args)
        .env_clear()
        .env("HOME", "/home/me")
        // Only the toolbox's own programs.
        .env("PATH", "/nowhere")
        .current_dir("/proc/self")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the shell");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("write");
    let output = child.wait_with_output().expect("wait");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), toolbox::sh::run::code(output.status))
}

fn table(cases: &[(&str, &str, i32)]) {
    for (script, expected, status) in cases {
        let (out, err, code) = shell(&["-c", script], "");
        assert_eq!((out.as_str(), code), (*expected, *status), "{script}\n{err}");
    }
}

#[test]
fn words_and_quotes() {
    table(&[
        ("echo a  b 'c  d' \"e  f\" g\\ \\ h", "a b c  d e  f g  h\n", 0),
        ("echo 'a'\"b\"c ''", "abc \n", 0),
        ("echo \"\\$x \\\\ \\n \\\"\"", "$x \\ \\n \"\n", 0),
        ("echo a#b # comment", "a#b\n", 0),
        ("echo a\\\nb", "ab\n", 0),
        ("echo ~ ~/x '~' a~", "/home/me /home/me/x ~ a~\n", 0),
        ("x='a  b'; echo $x \"$x\"", "a b a  b\n", 0),
        ("x='*'; cd /proc/sys/kernel; echo \"$x\" '*' host*me", "* * hostname\n", 0),
        ("cd /proc/sys/kernel; echo nothing?here [h]ostname", "nothing?here hostname\n", 0),
        ("set -- 'a b' c; printf '<%s>' \"$@\"; printf '<%s>' $@; printf '<%s>' \"$*\"", "<a b><c><a><b><c><a b c>", 0),
        ("set -- ; printf '<%s>' \"$@\" x", "<x>", 0),
        ("IFS=:; x=a::b; printf '<%s>' $x", "<a><><b>", 0),
        ("echo $(echo a; echo b) `echo c \\`echo d\\``", "a b c d\n", 0),
        ("echo \"$(echo \"a  b\")\"", "a  b\n", 0),
        ("printf '%s|%5d|%-4s|%04x|%%\\n' s 42 ab 255", "s|   42|ab  |00ff|%\n", 0),
        ("printf '%s,' a b c; echo -n x; echo -e 'a\\tb'", "a,b,c,xa\tb\n", 0),
    ]);
}

#[test]
fn parameters() {
    table(&[
        ("x=1 y=2; echo $x${y}3 $unset.", "123 .\n", 0),
        ("echo ${x:-d} ${x-d} ${x:+s}; x=; echo ${x:-d} ${x-d}. ${x+s}", "d d\nd . s\n", 0),
        ("echo ${x:=v} $x; echo ${#x}", "v v\n1\n", 0),
        ("p=/a/b/c.tar.gz; echo ${p##*/} ${p#*/} ${p%.*} ${p%%.*}", "c.tar.gz a/b/c.tar.gz /a/b/c.tar /a/b/c\n", 0),
        ("echo ${x:?is not set}; echo never", "", 2),
        ("set -u; echo $nope; echo never", "", 2),
        ("set -- a b c; echo $# $1 $3 $0; shift 2; echo $1", "3 a c sh\nc\n", 0),
        ("false; echo $?; true; echo $?", "1\n0\n", 0),
        ("x=1; x=2 true; echo $x; export x; x=3 sh -c 'echo $x'; echo $x", "2\n3\n2\n", 0),
        ("x=5; echo $((x * 2 + 3)) $(( (1+2) * -x )) $((7 / 2)) $((7 % 4)) $((1 < 2 && 3 != 3))", "13 -15 3 3 0\n", 0),
        ("echo $((1/0)); echo never", "", 2),
        ("unset HOME; echo \"[$HOME]\"", "[]\n", 0),
    ]);
}

#[test]
fn control_flow() {
    table(&[
        ("true && echo a || echo b; false && echo c || echo d", "a\nd\n", 0),
        ("! true; echo $?; ! false && echo yes", "1\nyes\n", 0),
        ("if false; then echo a; elif true; then echo b; else echo c; fi", "b\n", 0),
        ("if [ 1 -eq 2 ]\nthen echo a\nelse\necho b\nfi", "b\n", 0),
        ("i=0; while [ $i -lt 3 ]; do echo $i; i=$((i+1)); done", "0\n1\n2\n", 0),
        ("i=0; until [ $i = 2 ]; do i=$((i+1)); done; echo $i", "2\n", 0),
        ("for x in a 'b c' $(echo d e); do echo \"<$x>\"; done", "<a>\n<b c>\n<d>\n<e>\n", 0),
        ("set -- p q; for x; do echo $x; done; for y in; do echo never; done", "p\nq\n", 0),
        ("for i in 1 2 3 4; do [ $i = 2 ] && continue; [ $i = 4 ] && break; echo $i; done", "1\n3\n", 0),
        ("for i in 1 2; do for j in a b; do break 2; done; echo never; done; echo out", "out\n", 0),
        ("case foo.txt in *.c|*.h) echo c;; *.txt) echo text;; *) echo other;; esac", "text\n", 0),
        ("case x in (y) echo y;; esac; echo $?", "0\n", 0),
        ("f() { echo f $1 $#; return 3; }; f a b; echo $? $#", "f a 2\n3 0\n", 0),
        ("f() { local x=in; echo $x; }; x=out; f; echo $x", "in\nout\n", 0),
        ("f() { f; }; f; echo never", "", 2),
        ("{ echo a; echo b; } | while read x; do echo \"-$x\"; done", "-a\n-b\n", 0),
        ("(cd /; pwd; exit 4); echo $?; pwd | grep -c proc", "/\n4\n1\n", 0),
        ("x=1; (x=2); echo $x", "1\n", 0),
        ("echo a; exit 7; echo b", "a\n", 7),
        ("set -e; false || true; if false; then :; fi; ! true; echo here; false; echo never", "here\n", 1),
        ("eval 'x=1;' 'echo $x'; eval", "1\n", 0),
        ("[ a = a -a ! b = c ] && [ -n x -o -z x ] && echo ok; [ -d / ] && [ ! -f / ] && echo dir", "ok\ndir\n", 0),
        ("test 3 -gt x", "", 2),
        ("test; echo $?; test ''; echo $?; [ = ]; echo $?; [ ! ]; echo $?", "1\n1\n0\n0\n", 0),
    ]);
}

#[test]
fn pipes_and_redirections() {
    table(&[
        ("echo b a | cat | wc -w", "2\n", 0),
        ("false | true; echo $?; true | false; echo $?", "0\n1\n", 0),
        ("seq 100000 | head -n 2", "1\n2\n", 0),
        ("while true; do echo y; done | head -n 1", "y\n", 0),
        ("cat /nonexistent 2>/dev/null || echo failed", "failed\n", 0),
        ("{ echo out; echo err >&2; } 2>&1 >/dev/null | cat", "err\n", 0),
        ("cat <<EOF\na $((1+1)) $HOME\n\\$x\nEOF\necho after", "a 2 /home/me\n$x\nafter\n", 0),
        ("cat <<'EOF'\n$HOME\nEOF", "$HOME\n", 0),
        ("cat <<-A; cat <<B\n\tone\n\tA\ntwo\nB", "one\ntwo\n", 0),
        ("if true; then cat <<X\nin if\nX\nfi", "in if\n", 0),
        ("echo a 3>&1 >&3", "a\n", 0),
        ("echo x > /nonexistent/file; echo $?", "1\n", 0),
        ("echo 'one two  three' | { read a b; echo \"$a,$b\"; }", "one,two  three\n", 0),
        ("printf 'a\\nb\\n' | { read x; cat; }", "b\n", 0),
        ("nosuchprogram; echo $?", "127\n", 0),
        ("/proc/version; echo $?", "126\n", 0),
        ("exec echo replaced; echo never", "replaced\n", 0),
        ("(exec echo sub); echo after", "sub\nafter\n", 0),
        ("exec 2>&1; nosuch", "sh: nosuch: not found\n", 127),
        ("command -v echo; command -v nosuch; type cd", "echo\ncd is cd\n", 0),
        ("sh -c 'kill -9 $$'; echo $?", "137\n", 0),
        ("sh -c 'echo $0 $1' name arg", "name arg\n", 0),
    ]);
}

#[test]
fn files_that_scripts_write() {
    let dir = std::env::temp_dir().join(format!("ferry-shell-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("directory");
    let script = format!(
        "cd {}; echo one > f; echo two >> f; cat < f; wc -l f; echo 'echo script $1' > s; sh s arg; . ./s; ls; \
         cp f g; mv g h; ln -s h l; readlink l; rm f h; ls; mkdir -p a/b; touch a/b/c; ls a/b; rm -r a; [ -e a ] || echo gone",
        dir.display()
    );
    let (out, err, status) = shell(&["-c", &script], "");
    let _ = std::fs::remove_dir_all(&dir);
    let expected = "one\ntwo\n2 f\nscript arg\nscript\nf\ns\nh\nl\ns\nc\ngone\n";
    assert_eq!((out.as_str(), status), (expected, 0), "{err}");
}

#[test]
fn jobs_and_traps() {
    table(&[
        ("sleep 0 & wait; echo $?", "0\n", 0),
        ("(exit 3) & wait $!; echo $?", "3\n", 0),
        ("sh -c 'exit 5' & wait $!; echo $?", "5\n", 0),
        ("sleep 1000 & kill $!; wait $!; echo $?", "143\n", 0),
        ("while true; do sleep 1000; done & kill $!; wait $!; echo $?", "143\n", 0),
        ("trap 'echo bye' EXIT; echo hi; exit 3", "hi\nbye\n", 3),
        ("trap 'echo got; exit 9' TERM; kill -TERM $$; wait; sleep 5; sleep 5", "got\n", 9),
        (
            "trap 'echo usr' USR1; sleep 1000 & p=$!; (sleep 0.3; kill -USR1 $$) & wait $p; echo $?; kill $p",
            "usr\n138\n",
            0,
        ),
        ("trap '' TERM; kill $$; sleep 0.1; echo alive", "alive\n", 0),
        ("kill -0 $$ && echo there; kill -0 999999999 2>/dev/null || echo none", "there\nnone\n", 0),
    ]);
}

#[test]
fn syntax_errors() {
    for (script, message) in [
        ("if true; then echo", "sh: syntax error: unexpected end of file\n"),
        ("echo 'open", "sh: syntax error: unexpected end of file\n"),
        ("fi", "sh: syntax error: unexpected \"fi\"\n"),
        ("echo a; ; echo b", "sh: syntax error: unexpected \";\"\n"),
        ("echo )", "sh: syntax error: unexpected \")\"\n"),
        ("| cat", "sh: syntax error: unexpected \"|\"\n"),
        ("${x", "sh: syntax error: unexpected end of file\n"),
        ("echo ${x!y}", "sh: syntax error: bad substitution\n"),
    ] {
        assert_eq!(shell(&["-c", script], ""), (String::new(), message.to_string(), 2), "{script}");
    }
    let deep = "(".repeat(5000);
    assert_eq!(shell(&["-c", &deep], "").2, 2);
    assert_eq!(shell(&["-z"], "").1, "sh: illegal option -z\n");
}

#[test]
fn standard_input_and_sessions() {
    assert_eq!(
        shell(&[], "x=1\nif [ $x = 1 ]\nthen\n echo yes\nfi\nexit 4\necho never\n"),
        ("yes\n".into(), String::new(), 4)
    );
    // With prompts: an error does not end a session, and a half command asks for more.
    let (out, err, status) = shell(&["-i"], "PS1='$ '\necho ${x:?no}\nfi\necho 'a\nb'\nfalse\n");
    assert_eq!((out.as_str(), status), ("a\nb\n", 1));
    assert!(err.contains("$ sh: x: no\n$ sh: syntax error: unexpected \"fi\"\n$ > $ $ \n"), "{err}");
}
