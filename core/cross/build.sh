# Builds the core for core/cross/run and core/cross/count, with one of their compilers. Flags as in CMakeLists.txt.

for tool in aarch64-linux-gnu-g++ qemu-aarch64; do
  command -v "$tool" > /dev/null || { echo "$tool is missing (Debian: apt-get install g++-aarch64-linux-gnu qemu-user)" >&2; exit 1; }
done

# compile COMPILER FOLDER FILE
compile() {
  local flags=(-O2 -ffp-contract=off -Wall -Wextra -Wconversion -Werror -Icore -I. -pthread)
  [[ $3 == *.c ]] && flags+=(-x c -std=c99) || flags+=(-std=c++20)
  [[ $1 == aarch64* ]] && flags+=(-DDCZ_NEON)
  [[ $3 == *portable.cpp || $3 == *factored?multiply.cpp || $3 == *neon*.cpp ]] && flags+=(-O3)
  [[ $3 == *neon*.cpp ]] && flags+=(-fno-schedule-insns)
  [[ $3 == *neon_dot.cpp ]] && flags+=(-march=armv8.2-a+dotprod)
  "$1" "${flags[@]}" -c "$3" -o "$2/${3//\//-}.o"
}
export -f compile

# build COMPILER FOLDER LINK-FLAGS PROGRAMS...: each of core/cross/PROGRAM.cpp, with the core
build() {
  local compiler=$1 folder=$2 link=$3 objects neon=(-name '*neon*')
  shift 3
  [[ $compiler == aarch64* ]] && neon=(-false)
  rm -rf "$folder"
  mkdir -p "$folder"
  {
    find core -name '*.cpp' ! -path 'core/bindings*' ! -path 'core/fuzz/*' ! -path 'core/cross/*' ! -name '*avx*' ! '(' "${neon[@]}" ')'
    printf '%s\n' device/{dcz,rows,error_text}.c
  } |
    xargs -P "$(nproc)" -I{} bash -ec "compile $compiler $folder {}"
  mapfile -t objects < <(printf '%s\n' "$folder"/*.o)
  for program; do
    compile "$compiler" "$folder" "core/cross/$program.cpp"
    "$compiler" "${objects[@]}" "$folder/core-cross-$program.cpp.o" -pthread $link -o "$folder/$program"
  done
}
