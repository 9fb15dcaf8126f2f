# Editors: ed, vi, sed in place.
seq 1 5 > file; printf '2s/2/x2/\n3s/3/x3/\n4d\nw\nq\n' | ed file; cat file; sed -i 's/x/y/;$a end' file; tr '\n' ' ' < file; echo
vi -c ':1d' -c ':s/y2/vi was here/' -c ':wq' file > /dev/null; cat file
