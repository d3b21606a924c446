# SPDX-License-Identifier: MIT
# The checks of configure.ac that are longer than a few lines.

# SIGEVEC_CHECK_LANGUAGES: C++20 and C11, or an error that says which compiler is needed.
AC_DEFUN([SIGEVEC_CHECK_LANGUAGES], [
  AC_LANG_PUSH([C++])
  AC_MSG_CHECKING([how $CXX takes C++20])
  CXX20_FLAGS=
  for flag in -std=c++20 -std=c++2a; do
    saved_CXXFLAGS=$CXXFLAGS
    CXXFLAGS="$CXXFLAGS $flag"
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[
      #include <atomic>
      #include <bit>
      #include <concepts>
      #include <span>
      struct point { int x, y; };
      template <std::integral T> consteval T twice(T v) { return v * 2; }
      constinit int four = twice(2);
    ]], [[
      point p = {.x = 1, .y = 2};
      std::atomic_ref<int> r(p.x);
      std::span<int> s(&p.y, 1);
      return r.load() + s[0] + std::countr_zero(4u);
    ]])], [CXX20_FLAGS=$flag])
    CXXFLAGS=$saved_CXXFLAGS
    test -z "$CXX20_FLAGS" || break
  done
  AC_LANG_POP([C++])
  AS_IF([test -z "$CXX20_FLAGS"], [
    AC_MSG_RESULT([not at all])
    AC_MSG_ERROR([$CXX has no C++20; g++ 12 or clang++ 14 will do (Debian package: g++)])
  ])
  AC_MSG_RESULT([$CXX20_FLAGS])
  AC_SUBST([CXX20_FLAGS])

  AC_MSG_CHECKING([whether $CC takes -std=gnu11])
  saved_CFLAGS=$CFLAGS
  CFLAGS="$CFLAGS -std=gnu11"
  AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[
    #include <stdatomic.h>
    _Static_assert(sizeof(_Atomic int) == sizeof(int), "C11");
  ]], [])], [AC_MSG_RESULT([yes])], [
    AC_MSG_RESULT([no])
    AC_MSG_ERROR([$CC has no C11 (Debian package: gcc)])
  ])
  CFLAGS=$saved_CFLAGS
  AC_SUBST([C11_FLAGS], [-std=gnu11])
])

# SIGEVEC_CHECK_PLATFORM: the C library and the machine that the binary interface is of. The compiler alone is asked, so that it holds
# for another machine, too.
AC_DEFUN([SIGEVEC_CHECK_PLATFORM], [
  AC_MSG_CHECKING([whether $host_cpu is a 64-bit machine])
  AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[
    typedef char of_64_bits[sizeof(void *) == 8 && sizeof(long) == 8 ? 1 : -1];
  ]], [])], [AC_MSG_RESULT([yes])], [
    AC_MSG_RESULT([no])
    AC_MSG_ERROR([libsigevec is for 64-bit machines; $CC builds for a 32-bit one])
  ])
  AC_MSG_CHECKING([whether the C library is glibc])
  AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[
    #include <stdlib.h>
    #if !defined __GLIBC__ || defined __UCLIBC__
    #error not glibc
    #endif
  ]], [])], [AC_MSG_RESULT([yes])], [
    AC_MSG_RESULT([no])
    AC_MSG_ERROR([libsigevec takes the place of a part of glibc; $CC builds for another C library (musl, for one)])
  ])
])

# SIGEVEC_ADD_FLAGS(VARIABLE, FLAGS): append those FLAGS to VARIABLE which the compiler of the current language takes.
AC_DEFUN([SIGEVEC_ADD_FLAGS], [
  for flag in $2; do
    AC_MSG_CHECKING([whether the _AC_LANG compiler takes $flag])
    saved_[]_AC_LANG_PREFIX[]FLAGS=$_AC_LANG_PREFIX[]FLAGS
    # A refusal of -Wno-x is silent; clang only warns of an unknown -Wx.
    _AC_LANG_PREFIX[]FLAGS="$saved_[]_AC_LANG_PREFIX[]FLAGS -Werror $(echo "$flag" | sed 's/^-Wno-/-W/')"
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])],
      [AC_MSG_RESULT([yes]); $1="$$1 $flag"], [AC_MSG_RESULT([no])])
    _AC_LANG_PREFIX[]FLAGS=$saved_[]_AC_LANG_PREFIX[]FLAGS
  done
])

# SIGEVEC_WARNINGS: WARN_CFLAGS and WARN_CXXFLAGS.
AC_DEFUN([SIGEVEC_WARNINGS], [
  common="-Wall -Wextra -Wpointer-arith -Wcast-align -Wwrite-strings -Wundef -Wvla
    -Wformat=2 -Wmissing-declarations -Wimplicit-fallthrough -Wno-missing-field-initializers"
  AC_LANG_PUSH([C])
  SIGEVEC_ADD_FLAGS([WARN_CFLAGS], [$common -Wshadow -Wstrict-prototypes -Wmissing-prototypes])
  AC_LANG_POP([C])
  AC_LANG_PUSH([C++])
  SIGEVEC_ADD_FLAGS([WARN_CXXFLAGS], [$common -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wextra-semi])
  # <aio.h> says that no argument of its functions is NULL. The library, which is these functions, looks all the same.
  SIGEVEC_ADD_FLAGS([NULL_FLAGS], [-fno-delete-null-pointer-checks -Wno-nonnull-compare -Wno-tautological-pointer-compare])
  AC_LANG_POP([C++])
  AC_SUBST([WARN_CFLAGS])
  AC_SUBST([WARN_CXXFLAGS])
  AC_SUBST([NULL_FLAGS])
])

# SIGEVEC_ARG_SANITIZER: --enable-sanitizer, SANITIZER_FLAGS for compiling and linking, SANITIZER for the tests.
AC_DEFUN([SIGEVEC_ARG_SANITIZER], [
  AC_ARG_ENABLE([sanitizer],
    [AS_HELP_STRING([--enable-sanitizer=LIST], [address, thread, undefined, or address,undefined])],
    [], [enable_sanitizer=no])
  SANITIZER=
  SANITIZER_FLAGS=
  case $enable_sanitizer in
  no) ;;
  address | thread | undefined | address,undefined | undefined,address)
    SANITIZER=$enable_sanitizer
    SANITIZER_FLAGS="-fsanitize=$SANITIZER -fno-omit-frame-pointer"
    # <aio.h> forbids NULL; what the library does with it is tested all the same. Objects with virtual functions are looked at
    # through a pipe, and taken for broken where tests have left no descriptor for it; the library has none.
    case $SANITIZER in
    *undefined*) SANITIZER_FLAGS="$SANITIZER_FLAGS -fno-sanitize-recover=undefined -fno-sanitize=nonnull-attribute,vptr" ;;
    esac
    AC_LANG_PUSH([C++])
    saved_CXXFLAGS=$CXXFLAGS
    CXXFLAGS="$CXXFLAGS $SANITIZER_FLAGS"
    AC_MSG_CHECKING([whether $CXX links with -fsanitize=$SANITIZER])
    AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])], [AC_MSG_RESULT([yes])], [
      AC_MSG_RESULT([no])
      AC_MSG_ERROR([the compiler has no $SANITIZER sanitizer (Debian packages: g++, or clang with libclang-rt-dev)])
    ])
    CXXFLAGS=$saved_CXXFLAGS
    AS_IF([test "$SANITIZER" = thread], [
      # gcc warns that it cannot follow atomic_thread_fence; the fences are all paired with atomic accesses.
      SIGEVEC_ADD_FLAGS([SANITIZER_FLAGS], [-Wno-tsan])
    ])
    AC_LANG_POP([C++])
    AC_DEFINE([SIGEVEC_SANITIZER], [1], [Built with a sanitizer.])
    ;;
  *) AC_MSG_ERROR([--enable-sanitizer takes address, thread, undefined or address,undefined, not "$enable_sanitizer"]) ;;
  esac
  AC_SUBST([SANITIZER])
  AC_SUBST([SANITIZER_FLAGS])
  AM_CONDITIONAL([SANITIZED], [test -n "$SANITIZER"])
])

# SIGEVEC_ARG_LTO: --disable-lto, LTO_FLAGS for compiling and linking the library as a whole. After SIGEVEC_ARG_SANITIZER, which is without.
AC_DEFUN([SIGEVEC_ARG_LTO], [
  AC_ARG_ENABLE([lto],
    [AS_HELP_STRING([--disable-lto], [do not optimise the library as a whole])],
    [], [enable_lto=check])
  LTO_FLAGS=
  AS_IF([test "x$enable_lto" != xno && test -z "$SANITIZER"], [
    AC_LANG_PUSH([C++])
    saved_CXXFLAGS=$CXXFLAGS
    # In several parts the library would be assembled with asm (symbol versions, compat/interrupt.c) in one, and what it names in another.
    whole="-flto=auto -flto-partition=one"
    CXXFLAGS="$CXXFLAGS $whole"
    AC_MSG_CHECKING([whether $CXX links with $whole])
    AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])], [LTO_FLAGS=$whole], [
      AS_IF([test "x$enable_lto" = xyes], [AC_MSG_ERROR([$CXX does not optimise at link time])])
    ])
    CXXFLAGS=$saved_CXXFLAGS
    AC_LANG_POP([C++])
    AS_IF([test -n "$LTO_FLAGS"], [enable_lto=yes], [enable_lto=no])
    # A static library is for linkers that know nothing of this, too.
    AS_IF([test "x$enable_lto$enable_static" = xyesyes], [LTO_FLAGS="$LTO_FLAGS -ffat-lto-objects"])
    AC_MSG_RESULT([$enable_lto])
  ], [enable_lto=no])
  AC_SUBST([LTO_FLAGS])
])

# SIGEVEC_HARDENING: --disable-hardening, HARDENING_FLAGS for compiling and HARDENING_LDFLAGS for linking what is installed. After
# SIGEVEC_ARG_SANITIZER, which has its own checks. tests/build/hardening.sh reads the marks in what comes out.
AC_DEFUN([SIGEVEC_HARDENING], [
  AC_ARG_ENABLE([hardening],
    [AS_HELP_STRING([--disable-hardening], [no stack protector, no checks of sizes, no marks for shadow stacks])],
    [], [enable_hardening=yes])
  HARDENING_FLAGS=
  HARDENING_LDFLAGS=
  AS_IF([test "x$enable_hardening" != xno && test -z "$SANITIZER"], [
    AC_LANG_PUSH([C++])
    SIGEVEC_ADD_FLAGS([HARDENING_FLAGS], [-fstack-protector-strong -fcf-protection -mbranch-protection=standard])
    # Sizes are only known when there is optimisation. Some distributions' compilers, and flags of packages, have it already.
    AC_MSG_CHECKING([whether _FORTIFY_SOURCE can be defined])
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([[
      #if !defined __OPTIMIZE__ || defined _FORTIFY_SOURCE
      #error no
      #endif
    ]])], [AC_MSG_RESULT([yes]); HARDENING_FLAGS="$HARDENING_FLAGS -D_FORTIFY_SOURCE=2"], [AC_MSG_RESULT([no])])
    # The linker drops the mark for shadow stacks when libc's start-up files have none, as Debian's; they do nothing to a return address.
    # Not so the mark for branches (-z ibt): _init in these files is jumped to.
    for flag in -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,-z,shstk; do
      case $flag:$HARDENING_FLAGS in
      -Wl,-z,shstk:*-fcf-protection*) ;;
      -Wl,-z,shstk:*) continue ;;
      esac
      AC_MSG_CHECKING([whether $CXX links with $flag])
      saved_LDFLAGS=$LDFLAGS
      LDFLAGS="$LDFLAGS $flag -Wl,--fatal-warnings"
      AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
        [AC_MSG_RESULT([yes]); HARDENING_LDFLAGS="$HARDENING_LDFLAGS $flag"], [AC_MSG_RESULT([no])])
      LDFLAGS=$saved_LDFLAGS
    done
    # A program at an address of chance, where the compiler does not do so of itself.
    PIE_FLAGS=
    PIE_LDFLAGS=
    AC_MSG_CHECKING([whether programs are position independent])
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([[
      #ifndef __PIE__
      #error no
      #endif
    ]])], [AC_MSG_RESULT([yes])], [
      saved_CXXFLAGS=$CXXFLAGS
      CXXFLAGS="$CXXFLAGS -fPIE -pie"
      AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
        [AC_MSG_RESULT([with -fPIE -pie]); PIE_FLAGS=-fPIE; PIE_LDFLAGS=-pie], [AC_MSG_RESULT([no])])
      CXXFLAGS=$saved_CXXFLAGS
    ])
    AC_LANG_POP([C++])
  ])
  AC_SUBST([HARDENING_FLAGS])
  AC_SUBST([HARDENING_LDFLAGS])
  AC_SUBST([PIE_FLAGS])
  AC_SUBST([PIE_LDFLAGS])
])

# SIGEVEC_CHECK_BOOST_TEST(IF-FOUND, IF-NOT): BOOST_TEST_CPPFLAGS and BOOST_TEST_LIBS.
AC_DEFUN([SIGEVEC_CHECK_BOOST_TEST], [
  AC_LANG_PUSH([C++])
  AC_MSG_CHECKING([for Boost.Test])
  saved_LIBS=$LIBS
  saved_CXXFLAGS=$CXXFLAGS
  LIBS="-lboost_unit_test_framework $LIBS"
  CXXFLAGS="$CXXFLAGS $CXX20_FLAGS"
  AC_LINK_IFELSE([AC_LANG_SOURCE([[
    #define BOOST_TEST_DYN_LINK
    #define BOOST_TEST_MODULE configure
    #include <boost/test/unit_test.hpp>
    BOOST_AUTO_TEST_CASE(links) { BOOST_TEST(true); }
  ]])], [boost_test=yes], [boost_test=no])
  LIBS=$saved_LIBS
  CXXFLAGS=$saved_CXXFLAGS
  AC_MSG_RESULT([$boost_test])
  AC_LANG_POP([C++])
  AS_IF([test $boost_test = yes], [
    AC_SUBST([BOOST_TEST_CPPFLAGS], [-DBOOST_TEST_DYN_LINK])
    AC_SUBST([BOOST_TEST_LIBS], [-lboost_unit_test_framework])
    $1
  ], [$2])
])
