/* File systems that do less than POSIX asks, for node-files.test.ts. The environment's FAULT says which:
   nolink     hard links are refused (FAT, SMB)
   nodirsync  a folder cannot be synced (SMB, several FUSE mounts)
   flaky      every other rename over a file is refused (Windows under a virus scanner)
   gcc -shared -fPIC -o faulty-libc.so faulty-libc.c -ldl; LD_PRELOAD=./faulty-libc.so FAULT=flaky node ... */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int is(const char *fault) {
  const char *asked = getenv("FAULT");
  return asked != NULL && strcmp(asked, fault) == 0;
}

static int refuse(int code) {
  errno = code;
  return -1;
}

int link(const char *from, const char *to) {
  int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "link");
  return is("nolink") ? refuse(EPERM) : real(from, to);
}

int fsync(int file) {
  int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
  struct stat about;
  if (is("nodirsync") && fstat(file, &about) == 0 && S_ISDIR(about.st_mode)) return refuse(EINVAL);
  return real(file);
}

int rename(const char *from, const char *to) {
  static int overwrites = 0;
  int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
  if (is("flaky") && access(to, F_OK) == 0 && __sync_add_and_fetch(&overwrites, 1) % 2 == 1)
    return refuse(EPERM);
  return real(from, to);
}
