/* Runs a fuzz target over the files and directories named on the command line: the corpus as a
 * test, without libFuzzer. Exit status 0 when all ran; a broken property aborts inside the target.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_BYTES_MAX = 64 << 20 };

static int replay_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return -1;
    }
    /* Exactly the size of the input, so that AddressSanitizer sees one byte too many. */
    uint8_t *data = malloc(size ? size : 1);
    size_t n = data ? fread(data, 1, size, f) : 0;
    (void)fclose(f); /* read only: nothing to lose */
    int status = -1;
    if (data && n == size) {
        (void)LLVMFuzzerTestOneInput(data, size); /* the target's value is for libFuzzer only */
        status = 0;
    }
    free(data);
    return status;
}

static int replay(const char *path, unsigned *count)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        return -1;
    }
    if (S_ISREG(st.st_mode)) {
        (*count)++;
        if (st.st_size > INPUT_BYTES_MAX || replay_file(path, (size_t)st.st_size) != 0) {
            (void)fprintf(stderr, "%s: cannot be replayed\n", path);
            return -1;
        }
        return 0;
    }
    struct dirent **names = NULL;
    int n = scandir(path, &names, NULL, alphasort);
    int status = n < 0 ? -1 : 0;
    for (int i = 0; i < n; i++) {
        char child[4096];
        int len = snprintf(child, sizeof child, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.' && (len >= (int)sizeof child || replay(child, count) != 0))
            status = -1;
        free(names[i]);
    }
    free(names);
    return status;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    int status = 0;
    for (int i = 1; i < argc; i++)
        status |= replay(argv[i], &count);
    if (count == 0) {
        (void)fprintf(stderr, "no input found: a fuzz target needs a corpus\n");
        return 1;
    }
    (void)printf("%u inputs replayed\n", count);
    return status == 0 ? 0 : 1;
}
