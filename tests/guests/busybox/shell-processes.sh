# Shell: here documents, pipes, redirections, exit codes.
cat <<END | tr a-z A-Z | rev
here is $((40 + 2))
END
{ echo out; echo err >&2; } 2>errors | wc -c; cat errors
false; echo $?; (exit 42); echo $?; sh -c 'kill -9 $$'; echo $?
seq 1 100000 | while read n; do [ $n = 5000 ] && echo at $n && break; done
exec 7>kept; echo kept >&7; exec 7>&-; cat kept; ! true || echo not
