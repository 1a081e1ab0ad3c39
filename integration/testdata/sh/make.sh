#!/bin/bash
# make -j: compilers run at all times until the go file is there.
go=$1 log=$2
say() { echo "$1" >>"$log"; }
fail() { say "FAIL $1"; exit 1; }
files=8 functions=12
for f in $(seq $files); do
	for n in $(seq $functions); do
		echo "int f${f}_$n(int *a, int n) { int s = $n; for (int i = 0; i < n; i++) for (int j = i; j < n; j++) s += a[i] * a[j] ^ s >> 3; return s; }"
	done >f$f.c
done
cat >Makefile <<'END'
objects = $(patsubst %.c,%.o,$(wildcard *.c))
all.o: $(objects)
	ld -r -o $@ $^
%.o: %.c
	gcc -pipe -O3 -c -o $@ $<
END
rounds=0
until [ -e "$go" ] && [ $rounds -gt 0 ]; do
	make -s -j4 all.o &
	if [ $rounds = 0 ]; then
		until [ -e f1.o ]; do sleep 0.01; done
		say ready
	fi
	wait $! || fail "make in round $rounds"
	n=$(nm all.o | grep -c ' T ')
	[ "$n" = $((files * functions)) ] || fail "$n functions in round $rounds"
	rm -f ./*.o
	rounds=$((rounds + 1))
done
say ok
