# Perl: a child behind a pipe, a closure, a sorted hash, a handler, a sleep.
use strict;
use warnings;
use Time::HiRes qw(sleep time);
my ($go, $log) = @ARGV;
sub say_line { open my $f, '>>', $log or exit 2; print $f "$_[0]\n"; close $f }
sub check { return if $_[0]; say_line("FAIL $_[1]"); exit 1 }
my $count = 0;
my $next = sub { return ++$count };
my %h = map { $_ => $_ * $_ } 1 .. 1000;
my $caught = 0;
$SIG{USR1} = sub { $caught++ };
pipe(my $r, my $w) or die;
my $pid = fork;
if (!$pid) {
	close $w;
	my $sum = 0;
	while (<$r>) { chomp; $sum += $_ }
	exit($sum == 55 ? 3 : 4);
}
close $r;
select((select($w), $| = 1)[0]);
print $w "$_\n" for 1 .. 5;
$next->() for 1 .. 10;
my $scalar = "a" x 1_000_000;
say_line("ready");
sleep 0.02 until -e $go;
print $w "$_\n" for 6 .. 10;
close $w;
check($next->() == 11, "closure");
check(join(',', sort { $a <=> $b } values %h) eq join(',', map { $_ * $_ } 1 .. 1000), "hash");
check(length($scalar) == 1_000_000, "scalar");
kill USR1 => $$;
check($caught == 1, "handler ran $caught times");
check(waitpid($pid, 0) == $pid && $? == 3 << 8, "child gave $?");
say_line("ok");
