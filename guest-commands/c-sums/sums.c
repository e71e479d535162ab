/* `sums [-a ALGORITHM] FILE...` prints the sum of each file as sha256sum does: the sum, two spaces, the path.
 *
 * The host reads the files and computes the sums, so a large one costs this program nothing. A file that cannot be
 * summed is named with the reason, the rest are summed nevertheless, and the command fails at the end.
 *
 * Nothing here includes <stdio.h>: it would bring WASI imports into a command that needs none. */

#include <stdlib.h>
#include <string.h>

#include "command.h"

static const struct {
    const char *name;
    wasmline_command_digest_algorithm_t value;
} ALGORITHMS[] = {
    {"sha1", WASMLINE_COMMAND_DIGEST_ALGORITHM_SHA1},
    {"sha256", WASMLINE_COMMAND_DIGEST_ALGORITHM_SHA256},
    {"sha512", WASMLINE_COMMAND_DIGEST_ALGORITHM_SHA512},
    {"blake3", WASMLINE_COMMAND_DIGEST_ALGORITHM_BLAKE3},
};
enum { ALGORITHM_COUNT = sizeof ALGORITHMS / sizeof *ALGORITHMS, LONGEST_SUM = 64 };

static bool is(const command_string_t *text, const char *word) {
    return text->len == strlen(word) && memcmp(text->ptr, word, text->len) == 0;
}

static bool write_bytes(const void *bytes, size_t len) {
    wasmline_command_connection_error_t error;
    command_list_u8_t piece = {(uint8_t *)bytes, len};
    return wasmline_command_connection_write(&piece, &error);
}

/* Writes `start`, `path` and `end` as one piece, so that lines appear whole. */
static bool write_line(const char *start, const command_string_t *path, const char *end) {
    size_t before = strlen(start), after = strlen(end), len = before + path->len + after + 1;
    char *line = malloc(len);
    if (line == NULL) {
        abort();
    }
    memcpy(line, start, before);
    memcpy(line + before, path->ptr, path->len);
    memcpy(line + before + path->len, end, after);
    line[len - 1] = '\n';
    bool written = write_bytes(line, len);
    free(line);
    return written;
}

static const char *reason(const wasmline_command_digest_error_t *error) {
    switch (error->tag) {
    case WASMLINE_COMMAND_DIGEST_ERROR_DENIED: return ": not permitted";
    case WASMLINE_COMMAND_DIGEST_ERROR_NOT_FOUND: return ": no such file";
    case WASMLINE_COMMAND_DIGEST_ERROR_BAD_PATH: return ": not an absolute path";
    case WASMLINE_COMMAND_DIGEST_ERROR_NOT_A_FILE: return ": not a regular file";
    case WASMLINE_COMMAND_DIGEST_ERROR_PERMISSION: return ": permission denied";
    case WASMLINE_COMMAND_DIGEST_ERROR_TOO_LARGE: return ": too large";
    default: return ": cannot be read";
    }
}

/* Prints the sum of one file, or why there is none. Says whether there is one. */
static bool sum(command_string_t *path, wasmline_command_digest_algorithm_t algorithm) {
    command_list_u8_t digest;
    wasmline_command_digest_error_t error;
    if (!wasmline_command_digest_hash_file(path, algorithm, &digest, &error)) {
        write_line("sums: ", path, reason(&error));
        wasmline_command_digest_error_free(&error);
        return false;
    }
    char start[2 * LONGEST_SUM + 3], *end = start;
    for (size_t at = 0; at < digest.len && at < LONGEST_SUM; at++) {
        *end++ = "0123456789abcdef"[digest.ptr[at] >> 4];
        *end++ = "0123456789abcdef"[digest.ptr[at] & 15];
    }
    strcpy(end, "  ");
    command_list_u8_free(&digest);
    return write_line(start, path, "");
}

static bool fail(command_string_t *err, const char *text) {
    command_string_dup(err, text);
    return false;
}

bool exports_command_run(command_list_string_t *args, command_string_t *err) {
    const char *usage = "usage: sums [-a sha1|sha256|sha512|blake3] FILE...";
    wasmline_command_digest_algorithm_t algorithm = WASMLINE_COMMAND_DIGEST_ALGORITHM_SHA256;
    size_t first = 0;
    if (args->len >= 2 && is(&args->ptr[0], "-a")) {
        size_t at = 0;
        while (at < ALGORITHM_COUNT && !is(&args->ptr[1], ALGORITHMS[at].name)) {
            at++;
        }
        if (at == ALGORITHM_COUNT) {
            return fail(err, usage);
        }
        algorithm = ALGORITHMS[at].value;
        first = 2;
    }
    if (first == args->len) {
        return fail(err, usage);
    }
    bool whole = true;
    for (size_t at = first; at < args->len; at++) {
        whole &= sum(&args->ptr[at], algorithm);
    }
    command_list_string_free(args);
    return whole || fail(err, "not every file could be summed");
}
