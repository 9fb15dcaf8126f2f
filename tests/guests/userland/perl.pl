# Regular expressions, sprintf, hashes, sort.
use strict; use warnings;
my $text = join ' ', map { "w$_=" . ($_ * 7919 % 1000) } 1 .. 2000;
my %h = $text =~ /(w\d+)=(\d+)/g; printf "%d %s\n", scalar(keys %h), join ',', (sort { $h{$a} <=> $h{$b} || $a cmp $b } keys %h)[0 .. 4];
(my $copy = $text) =~ s/(\d+)=(\d+)/$1 * $2 % 97/ge; print length $copy, ' ', unpack('%32C*', $copy), "\n";
printf "%.15g %.17g %e %g %s %s %s\n", 0.1 + 0.2, 1 / 3, 12345.6789, 1e-5, 1e15, 1e16, 9007199254740993;
printf "%s %s %s %s %d\n", 2 ** 53, 2 ** 64, -7 % 3, 7.5 % 2, 3.99; printf "%x %o %b %+d %05.1f|%-6s|%3\$s %1\$s\n", 255, 8, 5, 3, 2.25, 'ab';
printf "%.10f %.10f %.10f %.10f\n", sqrt 2, exp 1, log 10, atan2(1, 1) * 4;
print join(' ', map { sprintf '%vd', $_ } '1.22.333'), ' ', join('|', split /\s*,\s*/, 'a , b,c ,d'), ' ', ucfirst lc 'HELLO', "\n";
print 'foobarbaz' =~ /^(?<a>foo)(?=bar)(?:b[aeiou]r)(?<b>.+)$/ ? "$+{a} $+{b}\n" : "no\n"; print "aaa" =~ /^(a+?)(a*)$/ ? "$1 $2\n" : "no\n";
my $nested = qr/\((?:[^()]++|(??{ our $nested }))*\)/; my $r = qr/(\((?:[^()]|(?1))*\))/; print 'f(a(b)(c(d)))e' =~ $r ? "$1\n" : "no\n";
my @s = sort { $a <=> $b } map { $_ * 16807 % 65537 } 1 .. 20000; print "@s[0, 1, 9999, 19999]\n"; my $x = 1; $x = ($x * 69069 + 1) & 0xffffffff for 1 .. 100000; print "$x\n";
print join(',', unpack 'N n C d< q', pack 'N n C d< q', 1, 2, 3, -1.5, -4), ' ', tr/a-z//, "\n" for 'xyz'; my $pid = fork // die; exit 7 unless $pid; waitpid $pid, 0; print $? >> 8, "\n";
local $SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 1; 1 while 1 }; print $@; eval { my $z = 0; $x = 1 / $z }; print $@ =~ /division by zero/ ? "zero\n" : $@
