/* `cal [MONTH YEAR]` prints the calendar of a month, by default of this one, with the weeks beginning on Monday.
 *
 * A plain program of the C library, which knows nothing of wasmline: its words are `argv`, what it prints is the reply,
 * and its exit status is reported when it is not 0. */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { FIRST_YEAR = 1583, LAST_YEAR = 9999, WIDTH = 20, WEEK = 7 };

static const char *const MONTHS[] = {
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
};

static bool is_leap(int year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int days_in(int month, int year) {
    static const int DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return DAYS[month - 1] + (month == 2 && is_leap(year));
}

/* Days from Monday to the first of the month, by Zeller's congruence, whose week begins on Saturday. */
static int first_weekday(int month, int year) {
    if (month < 3) {
        month += 12;
        year -= 1;
    }
    int from_saturday = (1 + 13 * (month + 1) / 5 + year + year / 4 - year / 100 + year / 400) % WEEK;
    return (from_saturday + 5) % WEEK;
}

static void print_month(int month, int year) {
    char title[WIDTH + 1];
    int length = snprintf(title, sizeof title, "%s %d", MONTHS[month - 1], year);
    printf("%*s\nMo Tu We Th Fr Sa Su\n", (WIDTH + length) / 2, title);
    int weekday = first_weekday(month, year), days = days_in(month, year);
    /* The first day stands beneath its weekday; each of the days before takes three places. */
    printf("%*s", 3 * weekday, "");
    for (int day = 1; day <= days; day++, weekday++) {
        bool ends_line = weekday % WEEK == WEEK - 1 || day == days;
        printf("%2d%c", day, ends_line ? '\n' : ' ');
    }
}

/* The whole text as a number between the two, or 0. */
static int number(const char *text, int least, int most) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    return errno == 0 && *text != '\0' && *end == '\0' && least <= value && value <= most ? (int)value : 0;
}

int main(int argc, char *argv[]) {
    int month = 0, year = 0;
    if (argc == 1) {
        time_t now = time(NULL);
        const struct tm *today = gmtime(&now);
        month = today->tm_mon + 1;
        year = today->tm_year + 1900;
    } else if (argc == 3) {
        month = number(argv[1], 1, 12);
        year = number(argv[2], FIRST_YEAR, LAST_YEAR);
    }
    if (month == 0 || year == 0) {
        fprintf(stderr, "usage: cal [MONTH YEAR], the year from %d to %d\n", FIRST_YEAR, LAST_YEAR);
        return EXIT_FAILURE;
    }
    print_month(month, year);
    return EXIT_SUCCESS;
}
